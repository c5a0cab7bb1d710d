"""The quality score of a feature row: four stated parts and their product, each in [0, 1] or refused."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.values import Floats

# The limits of docs/retention.md's default policies: high quality is kept longest.
HIGH_ABOVE = 0.8
MEDIUM_ABOVE = 0.6
_DAY = 86_400.0
_METRES_PER_DEGREE = 111_195.0


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The parts of the score, one value per row; construction refuses what is not a number in [0, 1]."""

    completeness: Floats
    validity: Floats
    support: Floats
    precision: Floats

    def __post_init__(self) -> None:
        for name in ("completeness", "validity", "support", "precision"):
            values = getattr(self, name)
            wrong = ~((values >= 0) & (values <= 1))
            if wrong.any():
                raise FeatureError(
                    f"The quality part {name} is {values[wrong][0]} in {int(wrong.sum())} rows, outside 0..1.",
                    hint="Nothing was written. This is a fault of the feature code or of its inputs, please report it.",
                )

    @property
    def score(self) -> Floats:
        """Product of the parts."""
        return self.completeness * self.validity * self.support * self.precision

    @property
    def priority(self) -> npt.NDArray[np.object_]:
        """High above 0.8, medium above 0.6, else low."""
        score = self.score
        names = np.where(score > HIGH_ABOVE, "high", np.where(score > MEDIUM_ABOVE, "medium", "low"))
        return names.astype(object)

    def columns(self) -> dict[str, pa.Array]:
        """The columns of the feature store."""
        parts = {
            "quality_score": self.score,
            "quality_completeness": self.completeness,
            "quality_validity": self.validity,
            "quality_support": self.support,
            "quality_precision": self.precision,
        }
        return {name: pa.array(np.round(values, 9)) for name, values in parts.items()} | {
            "priority": pa.array(self.priority, pa.string())
        }


def support(n: Floats, n0: float) -> Floats:
    """N / (n + n0), 0 where nothing contributes."""
    return np.divide(n, n + n0, out=np.zeros_like(n), where=n > 0)


def precision(interval_seconds: Floats, radius_m: Floats, cell_deg: float) -> Floats:
    """How exactly time and place are known.

    Time: 1 up to a day, 0.5 up to a month of 31 days, 0.2 beyond. Place: 1 while the radius that holds the position
    is at most a cell's height, then height / radius. An unknown radius (NaN) is taken as within the cell.
    """
    time = np.where(interval_seconds <= _DAY, 1.0, np.where(interval_seconds <= 31 * _DAY, 0.5, 0.2))
    cell_m = cell_deg * _METRES_PER_DEGREE
    return time * np.where(radius_m > cell_m, cell_m / np.maximum(radius_m, cell_m), 1.0)
