"""`TrainingSet`: what a prepared training set consists of, for functions that have no type of their own for it.

Light to import: models' code names it in type hints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """A prepared training set; arrays and frames of any kind that is cached (docs/training_sets.md).

    Attributes:
        feature_names: columns of X, in order; left out, those of X where it is a frame.
        preprocessing: what was done, a mapping for each step; left out, read from `pipeline`.
        pipeline: the fitted scikit-learn pipeline.
        provenance: datasets, licences and runs it comes from, as far as the function knows.
        data_versions: versions of what it was built from that the lake does not know of.
    """

    X: Any
    y: Any
    X_val: Any = None
    y_val: Any = None
    feature_names: Sequence[str] = ()
    preprocessing: Sequence[Mapping[str, Any]] = ()
    pipeline: Any = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    data_versions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def class_distribution(self) -> Mapping[str, float] | None:
        """Share of each class of `y` and `y_val` together; None where they hold no classes."""
        from retention_pipelines.cache.training.description import class_distribution

        return class_distribution(self.y, self.y_val)
