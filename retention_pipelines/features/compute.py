"""Compute features of studies, some months at a time, and store what changed.

What belongs here: the order of work and what a run reports. What does not: any formula. Late records of a month call
for the studies of that month; see docs/features.md for what else they may reach.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.errors import FeatureError
from retention_pipelines.features.coast import CoastDistance, GshhgCoast
from retention_pipelines.features.environmental import EnvironmentalMatcher
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.features.regions import load_regions
from retention_pipelines.features.rows import RowWriter
from retention_pipelines.features.spatial import spatial_features
from retention_pipelines.features.species import species_features
from retention_pipelines.features.studies import StudyReader
from retention_pipelines.features.temporal import temporal_features
from retention_pipelines.features.traits import load_traits
from retention_pipelines.features.values import FeatureValues
from retention_pipelines.features.zones import load_zones
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.removed import RAW, how_to_bring_back, removed_months

# Raise it when a formula changes: rows then say which one they were computed by.
SCHEMA_VERSION = 1
# A batch costs about as much as a month does, whatever it holds; this many studies need a few hundred MB.
STUDIES_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class FeatureRun:
    """What one run did: `rows_computed` by feature type, `rows_added` after leaving out unchanged content.

    `lacking` are months that were left alone because raw rows of them were removed or archived.
    """

    months: tuple[str, ...]
    studies: int
    rows_computed: dict[str, int]
    rows_added: int
    commits: tuple[Commit, ...]
    lacking: tuple[str, ...] = ()


def code_version() -> str:
    """Version of the package and of the feature schema."""
    return f"{version('retention_pipelines')}+features.{SCHEMA_VERSION}"


def compute_features(
    lake: Lake,
    *,
    months: Collection[str] | None,
    now: datetime,
    feature_types: Sequence[str] = FEATURE_TYPES,
    options: FeatureOptions | None = None,
    coast: CoastDistance | None = None,
    studies_at_once: int = STUDIES_AT_ONCE,
) -> FeatureRun:
    """Compute the features of the studies that have records in `months` (all when None) and store the changed ones.

    Running it again on unchanged data adds nothing; changed or late data adds a version with computed_at `now`.
    Months are computed and committed together up to `studies_at_once` studies; the rows do not depend on that number.
    Months that raw rows were removed of, or archived, keep the features they have: new ones would be of part of a
    study. Raises FeatureError when that is all that was asked for.
    """
    unknown = sorted(set(feature_types) - set(FEATURE_TYPES))
    if unknown:
        raise FeatureError(f"{unknown[0]!r} is not a feature type.", hint=f"Known: {', '.join(FEATURE_TYPES)}.")
    if now.tzinfo is None:
        raise FeatureError("`now` has no time zone.", hint="Pass datetime.now(UTC).")
    options = options or FeatureOptions()
    settings = lake.settings
    regions, zones = load_regions(settings.regions_file), load_zones(settings.zones_file)
    traits = load_traits(settings.traits_file)
    coast = coast or GshhgCoast()
    reader = StudyReader(lake)
    matcher = EnvironmentalMatcher(lake, options)
    writer = RowWriter(lake=lake, now=now, code_version=code_version(), options=options)
    computed = dict.fromkeys(feature_types, 0)
    n_studies = 0
    removed = removed_months(lake, *RAW)
    if months and removed.keys() >= set(months):
        first = min(months)
        raise FeatureError(
            f"Raw rows of {first} were removed or archived: features computed from what is left would be of part of a "
            "study. They were left as they are.",
            hint=how_to_bring_back(first, removed[first]),
        )
    asked = reader.months_to_compute(months)
    chosen = [month for month in asked if month not in removed]
    for batch in reader.batches(chosen, studies_at_once):
        studies = reader.load(batch)
        n_studies += studies.num_rows
        if not studies.num_rows:
            continue
        for feature_type in feature_types:
            values: FeatureValues
            match feature_type:
                case "temporal":
                    values = temporal_features(lake, studies, regions)
                case "spatial":
                    values = spatial_features(
                        studies, cell_deg=settings.cell_deg, coast=coast, zones=zones, options=options
                    )
                case "environmental":
                    values = matcher.features(studies)
                case _:
                    values = species_features(lake, traits)
            computed[feature_type] += writer.add(values, studies)
        # What is done stays done when a long run is interrupted.
        writer.commit()
    return FeatureRun(
        months=tuple(chosen),
        studies=n_studies,
        rows_computed=computed,
        rows_added=sum(commit.rows_added for commit in writer.commits),
        commits=tuple(writer.commits),
        lacking=tuple(sorted(removed.keys() & {*asked, *(months or ())})),
    )
