"""The feature store: one wide table, one row per study and feature type, typed columns."""

from retention_pipelines.catalog.dataset import Column, ColumnType, Dataset, Layer, count, double, flag, instant, text

FEATURE_TYPES = ("temporal", "spatial", "environmental", "species")
PRIORITIES = ("high", "medium", "low")


def _whole(name: str, description: str, minimum: float | None = None, maximum: float | None = None) -> Column:
    return Column(name=name, type=ColumnType.INTEGER, description=description, minimum=minimum, maximum=maximum)


TEMPORAL = (
    _whole("year", "Calendar year, UTC."),
    _whole("month_of_year", "Month 1..12; null for year-only studies.", 1, 12),
    _whole("day_of_year", "Day 1..366; null unless the date is known to the day.", 1, 366),
    text("season", "DJF, MAM, JJA or SON.", allowed=("DJF", "MAM", "JJA", "SON")),
    double("day_of_year_sin", "sin(2 pi (day of year - 1) / days in year).", minimum=-1, maximum=1),
    double("day_of_year_cos", "cos(2 pi (day of year - 1) / days in year).", minimum=-1, maximum=1),
    double("month_sin", "sin(2 pi (month - 1) / 12).", minimum=-1, maximum=1),
    double("month_cos", "cos(2 pi (month - 1) / 12).", minimum=-1, maximum=1),
    double("hour_sin", "sin of the hour angle, UTC; null for dates without a time.", minimum=-1, maximum=1),
    double("hour_cos", "cos of the hour angle, UTC; null for dates without a time.", minimum=-1, maximum=1),
    double("duration_seconds", "Length of the written interval; null where a single instant or date is written.", "s"),
    text("hemisphere", "north or south.", allowed=("north", "south")),
    text("climate_region", "Configured region that holds the position, or null."),
    text("precipitation_season", "dry or wet by the region; null outside configured regions.", allowed=("dry", "wet")),
    flag("is_upwelling_season", "Whether the month is an upwelling month of the region."),
)
SPATIAL = (
    double("latitude", "Mean position of the study.", "degree_north", minimum=-90, maximum=90),
    double("longitude", "Mean position of the study.", "degree_east", minimum=-180, maximum=180),
    double("cell_lat0", "Lower edge of the cell.", "degree_north"),
    double("cell_lon0", "Left edge of the cell.", "degree_east"),
    double("minimum_depth_m", "Shallowest sampled depth.", "m"),
    double("maximum_depth_m", "Deepest sampled depth.", "m"),
    double("depth_range_m", "Deepest minus shallowest.", "m"),
    double("sea_floor_depth_m", "Depth of the sea floor, where the source gives it.", "m"),
    double("distance_to_coast_km", "Geodesic distance to the nearest coast; negative on land.", "km"),
    text("named_zone", "Configured polygon that holds the position."),
    text(
        "coastal_belt",
        "Distance belt: land, coastal (to 12 nm), contiguous (24), eez_distance (200) or high_sea.",
        allowed=("land", "coastal", "contiguous", "eez_distance", "high_sea"),
    ),
    text(
        "depth_belt",
        "shelf (to 200 m), slope (2000 m) or ocean; null without a sea floor depth.",
        allowed=("shelf", "slope", "ocean"),
    ),
)


def _match_up(quantity: str, unit: str, suffix: str) -> tuple[Column, ...]:
    variable = f"{quantity}_{suffix}"
    return (
        double(variable, f"Matched {quantity} near the study.", unit),
        double(f"{quantity}_distance_km", "Distance of the nearest contributing observation.", "km", minimum=0),
        double(f"{quantity}_age_seconds", "Age of the newest contributing observation at the study.", "s", minimum=0),
        count(f"{quantity}_n", "Number of contributing observations.", required=False),
        double(
            f"{quantity}_anomaly_{suffix}",
            "Surface value near the study minus the cell's surface climatology known at the study.",
            unit,
        ),
    )


ENVIRONMENTAL = (
    *_match_up("temperature", "degree_Celsius", "degc"),
    *_match_up("salinity", "1", "psu"),
    *_match_up("oxygen_saturation", "percent", "percent"),
    *_match_up("chlorophyll", "mg m-3", "mg_m3"),
    double("temperature_gradient_degc_per_km", "Magnitude of the horizontal gradient near the study.", "degC km-1"),
    double("temperature_vertical_gradient_degc_per_m", "Slope of temperature over depth near the study.", "degC m-1"),
    double("surface_temperature_degc", "Matched temperature of the surface layer near the study.", "degree_Celsius"),
    flag("is_upwelling", "Surface temperature at least k standard deviations below the climatology."),
    double("upwelling_index", "Standardised negative surface temperature anomaly.", "1"),
    text(
        "productivity_class",
        "oligotrophic (below 0.1 mg m-3), mesotrophic or eutrophic (above 1) by matched chlorophyll.",
        allowed=("oligotrophic", "mesotrophic", "eutrophic"),
    ),
)
SPECIES = (
    count("n_records", "Presence records of the study.", required=False),
    count("richness", "Number of taxa present.", required=False),
    double("shannon", "Shannon index, natural logarithm.", minimum=0),
    double("gini_simpson", "1 - sum p_i^2.", minimum=0, maximum=1),
    double("pielou", "Evenness; null below two taxa.", minimum=0, maximum=1.0000001),
    text("diversity_basis", "records or abundance.", allowed=("records", "abundance")),
    text("dominant_taxon", "Taxon with the largest share."),
    double("dominant_share", "Its share.", minimum=0, maximum=1),
    double("total_abundance", "Summed abundance; null without counts.", minimum=0),
    double("total_density", "Summed density; null without densities.", minimum=0),
    text("total_density_unit", "Unit of total_density."),
    double("threatened_share", "Share of taxa flagged threatened; null without a traits table.", minimum=0, maximum=1),
    double("commercial_share", "Share of taxa flagged commercial.", minimum=0, maximum=1),
    double("endemic_share", "Share of taxa flagged endemic.", minimum=0, maximum=1),
)

FEATURE_COLUMNS: dict[str, tuple[Column, ...]] = {
    "temporal": TEMPORAL,
    "spatial": SPATIAL,
    "environmental": ENVIRONMENTAL,
    "species": SPECIES,
}

FEATURE_STORE = Dataset(
    name="feature_store",
    layer=Layer.FEATURES,
    description="Features of studies (sampling events), every computed version kept.",
    grain="one row per study, feature type and distinct content",
    columns=(
        text("feature_id", "Study and feature type: `<source_data_id>/<feature_type>`.", required=True),
        text(
            "feature_hash",
            "Hash of the content and its version, without computed_at and code_version; one content is stored once.",
            required=True,
        ),
        text("feature_type", "Partition: which columns are filled.", required=True, allowed=FEATURE_TYPES),
        text("source_table", "occurrences or observations.", required=True, allowed=("occurrences", "observations")),
        text("source_data_id", "The study: `<dataset_id>/<event_id>`.", required=True),
        text("dataset_id", "Dataset of the study.", required=True),
        instant("event_time", "Start of the study, UTC.", required=True),
        instant("event_end", "End of the study's interval.", required=True),
        text("date_precision", "Precision of the study's date.", required=True),
        instant("known_at", "Instant from which every input of the values was known.", required=True),
        instant("computed_at", "When the row was computed.", required=True),
        _whole("version", "1 for the study's first content of this type, one more for each change since.", 1),
        flag("moved", "Whether an earlier version lay at another time or cell; such versions are never joined again."),
        text("temporal_window", "ISO 8601 duration of the data the values look at, for example P7D.", required=True),
        text("spatial_resolution", "Resolution of the values, for example 0.25deg or 25km.", required=True),
        text("location_grid", "Cell of the study: `<lat0>_<lon0>`.", required=True),
        double("cell_deg", "Size of the cell.", "degree", required=True),
        double("quality_score", "Product of the four parts.", required=True, minimum=0, maximum=1),
        double(
            "quality_completeness",
            "Non-null share of the features the type declares.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        double("quality_validity", "Share of contributing records with good QC.", required=True, minimum=0, maximum=1),
        double("quality_support", "n / (n + n0).", required=True, minimum=0, maximum=1),
        double(
            "quality_precision",
            "1 for a day or better and a position within a cell; less otherwise.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        text("priority", "high, medium or low, by the quality score.", required=True, allowed=PRIORITIES),
        text("code_version", "Version of the code that computed the row.", required=True),
        *(column for columns in FEATURE_COLUMNS.values() for column in columns),
        text("month", "Partition: `YYYY-MM` of event_time.", required=True),
    ),
    key=("feature_hash",),
    partition_by=("feature_type", "month"),
    order=("location_grid", "event_time"),
    event_time="event_time",
    owner="team:ml-engineering",
)
