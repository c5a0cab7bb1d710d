"""Feature names as people write them: `environmental.temperature_degc`, or plain `temperature_degc`."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.errors import FeatureError

# Columns every type has; asked for by type, answered as `<type>_<column>`.
ROW_COLUMNS = ("event_time", "known_at", "computed_at", "quality_score", "priority", "feature_hash", "code_version")
_TYPE_OF = {column.name: kind for kind, columns in FEATURE_COLUMNS.items() for column in columns}
_KNOWN = {
    **{f"{kind}.{name}": (kind, name, name) for name, kind in _TYPE_OF.items()},
    **{name: (kind, name, name) for name, kind in _TYPE_OF.items()},
    **{f"{kind}.{name}": (kind, name, f"{kind}_{name}") for kind in FEATURE_COLUMNS for name in ROW_COLUMNS},
}


@dataclass(frozen=True, kw_only=True)
class FeatureName:
    """A resolved feature: its type, its column in the store, its column in the answer."""

    feature_type: str
    column: str
    output: str


def resolve(features: Iterable[str]) -> list[FeatureName]:
    """The features of the given names, in order; raises FeatureError with the nearest name for an unknown one."""
    names = [features] if isinstance(features, str) else list(features or ())
    if not names:
        raise FeatureError("No feature is asked for.", hint="Name some, such as 'environmental.temperature_degc'.")
    resolved: list[FeatureName] = []
    for name in names:
        if not isinstance(name, str):
            raise FeatureError(f"{name!r} is no name of a feature.", hint="Name features by text; docs/features.md.")
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.0)[0]
            raise FeatureError(
                f"There is no feature {name!r}.", hint=f"Did you mean {near!r}? docs/features.md lists all."
            )
        kind, column, output = _KNOWN[name]
        if any(earlier.output == output for earlier in resolved):
            raise FeatureError(f"The feature {name!r} is asked for twice.", hint="Name it once.")
        resolved.append(FeatureName(feature_type=kind, column=column, output=output))
    return resolved
