"""Options of the features: every radius, window, limit and n0, with the reason for its default.

What belongs here: numbers a person may want to change. What does not: which columns exist (the catalog), regions
(`regions.yaml`), zones and traits (files of the user's, named in the settings).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

NAUTICAL_MILE_KM = 1.852


def _default_n0() -> Mapping[str, float]:
    return MappingProxyType({"temporal": 0.0, "spatial": 0.0, "environmental": 3.0, "species": 3.0})


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """What the computation of features may be told.

    Attributes:
        radius_km: great-circle radius of the match-up; 25 km is about the internal deformation radius at 30 degrees.
        window: how far back the match-up looks; sea surface conditions decorrelate within one to two weeks.
        depth_tolerance_m: metres added above and below the study's depth range.
        climatology_min_years: earlier years a cell's climatology needs before an anomaly is stated.
        upwelling_k: standard deviations below the climatology that count as upwelling (docs/definitions.md).
        vertical_limit_m: the vertical gradient looks at observations down to here.
        vertical_span_m: depths must span at least this much for a vertical gradient.
        oligotrophic_below, eutrophic_above: chlorophyll in mg m-3, thresholds of Antoine, Andre and Morel (1996),
            Global Biogeochemical Cycles 10(1), 57-69.
        shelf_depth_m, slope_depth_m: lower limits of the depth belts.
        support_n0: n0 of the quality score's support by feature type: 0 where one record says it all.
    """

    radius_km: float = 25.0
    window: timedelta = timedelta(days=14)
    depth_tolerance_m: float = 10.0
    climatology_min_years: int = 3
    upwelling_k: float = 1.5
    vertical_limit_m: float = 200.0
    vertical_span_m: float = 10.0
    oligotrophic_below: float = 0.1
    eutrophic_above: float = 1.0
    shelf_depth_m: float = 200.0
    slope_depth_m: float = 2000.0
    support_n0: Mapping[str, float] = field(default_factory=_default_n0)
