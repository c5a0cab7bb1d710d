"""The aggregated series: cells x windows, and what is derived from them."""

from retention_pipelines.catalog.dataset import Column, ColumnType, Dataset, Layer, count, double, instant, text
from retention_pipelines.catalog.raw import SOURCE_TYPES

TIME_WINDOWS = ("daily", "weekly", "monthly", "seasonal")
_CELL = (
    text("location_grid", "Cell: `<lat0>_<lon0>`.", required=True),
    double("cell_deg", "Size of the cell.", "degree", required=True),
    double(
        "center_lat",
        "Middle of the cell; past 90 for the cell whose lower edge is the pole.",
        "degree_north",
        required=True,
    ),
    double("center_lon", "Middle of the cell.", "degree_east", required=True, minimum=-180, maximum=180),
)
_WINDOW = (
    text("time_window", "Partition: length of the window.", required=True, allowed=TIME_WINDOWS),
    text("window_label", "Name of the window: 2017-08-14, 2017-W32, 2017-08 or 2018-DJF.", required=True),
    instant("window_start", "Start, UTC, inclusive.", required=True),
    instant("window_end", "End, UTC, exclusive.", required=True),
)
_QUANTITY = (
    text("dataset_id", "Dataset of the observations.", required=True),
    text("variable", "Quantity with its unit as suffix.", required=True),
    text("layer", "surface (to the surface limit) or all depths.", required=True, allowed=("surface", "all")),
)
_YEAR = text("year", "Partition: year of window_start.", required=True)

AGGREGATED_TIME_SERIES = Dataset(
    name="aggregated_time_series",
    layer=Layer.SERIES,
    description="Statistics of every quantity per cell and window, over single observations of good quality.",
    grain="one row per source type, dataset, variable, layer, cell and window",
    columns=(
        text("source_type", "Partition: kind of platform.", required=True, allowed=SOURCE_TYPES),
        *_QUANTITY,
        *_CELL,
        *_WINDOW,
        count("n", "Number of observations.", minimum=1),
        double("mean", "Mean in the variable's unit.", required=True),
        double("std", "Sample standard deviation (ddof 1); null when n < 2.", minimum=0),
        double("min", "Smallest value.", required=True),
        double("max", "Largest value.", required=True),
        double("surface_limit_m", "Depth limit of the surface layer when the row was computed.", "m", required=True),
        _YEAR,
    ),
    key=("source_type", "dataset_id", "variable", "layer", "location_grid", "cell_deg", "time_window", "window_start"),
    partition_by=("source_type", "time_window", "year"),
    order=("dataset_id", "variable", "layer", "location_grid", "window_start"),
    event_time="window_start",
    owner="team:data-engineering",
)

BIODIVERSITY_STATISTICS = Dataset(
    name="biodiversity_statistics",
    layer=Layer.SERIES,
    description="Diversity per cell and window, from records and from abundance, kept apart.",
    grain="one row per dataset, basis, cell and window",
    columns=(
        text("dataset_id", "Dataset of the occurrences.", required=True),
        text("basis", "What n_i counts.", required=True, allowed=("records", "abundance")),
        *_CELL,
        *_WINDOW,
        count("n_records", "Presence records.", minimum=1),
        double("total", "N: sum of n_i.", required=True, minimum=0),
        count("richness", "S: number of taxa.", minimum=1),
        double("shannon", "-sum p_i ln p_i.", required=True, minimum=0),
        double("simpson_d", "sum p_i^2.", required=True, minimum=0),
        double("gini_simpson", "1 - simpson_d.", required=True),
        double("inverse_simpson", "1 / simpson_d.", required=True),
        double("pielou", "shannon / ln richness; null when richness < 2."),
        text("dominant_taxon", "Taxon with the largest n_i; the first by name on a tie.", required=True),
        double("dominant_share", "Its share of N.", required=True, minimum=0, maximum=1),
        _YEAR,
    ),
    key=("dataset_id", "basis", "location_grid", "cell_deg", "time_window", "window_start"),
    partition_by=("time_window", "year"),
    order=("dataset_id", "basis", "location_grid", "window_start"),
    event_time="window_start",
)

SEASONAL_PATTERNS = Dataset(
    name="seasonal_patterns",
    layer=Layer.SERIES,
    description="Climatology and seasonal indices per cell and calendar month.",
    grain="one row per dataset, variable, layer, cell and calendar month",
    columns=(
        *_QUANTITY,
        *_CELL,
        Column(
            name="month",
            type=ColumnType.INTEGER,
            description="Calendar month 1..12.",
            required=True,
            minimum=1,
            maximum=12,
        ),
        double("climatology", "Mean over years of the monthly means.", required=True),
        double("climatology_std", "Sample standard deviation over years of the monthly means; null for one year."),
        count("n_years", "Number of years.", minimum=1),
        double("index_additive", "Climatology minus the mean of the climatology's months.", required=True),
        double("index_ratio", "Climatology divided by that mean; null when it is 0."),
    ),
    key=("dataset_id", "variable", "layer", "location_grid", "cell_deg", "month"),
    order=("dataset_id", "variable", "layer", "location_grid", "month"),
)

TRENDS = Dataset(
    name="trends",
    layer=Layer.SERIES,
    description="Linear trends of monthly means per cell with at least 24 months.",
    grain="one row per dataset, variable, layer and cell",
    columns=(
        *_QUANTITY,
        *_CELL,
        count("n_months", "Months with a mean.", minimum=24),
        double("slope_per_year", "Ordinary least squares slope.", required=True),
        double("stderr", "Standard error of the slope.", required=True, minimum=0),
        double("p_value", "Two-sided p of slope = 0.", required=True, minimum=0, maximum=1),
        double("r2", "Coefficient of determination.", required=True),
        double("theil_sen_slope", "Median of pairwise slopes, per year.", required=True),
        double("deseasonalised_slope", "OLS slope of monthly means minus climatology.", required=True),
        double("deseasonalised_stderr", "Its standard error.", required=True, minimum=0),
        double("deseasonalised_p_value", "Its p.", required=True, minimum=0, maximum=1),
        double("deseasonalised_r2", "Its coefficient of determination.", required=True),
        double("deseasonalised_theil_sen_slope", "Theil-Sen slope of the same.", required=True),
    ),
    key=("dataset_id", "variable", "layer", "location_grid", "cell_deg"),
    order=("dataset_id", "variable", "layer", "location_grid"),
)

UPWELLING_FREQUENCY = Dataset(
    name="upwelling_frequency",
    layer=Layer.SERIES,
    description="Share of days whose cell mean of surface temperature lies far below the cell's climatology.",
    grain="one row per dataset, cell and window (weekly, monthly, seasonal)",
    columns=(
        text("dataset_id", "Dataset of the observations.", required=True),
        *_CELL,
        *_WINDOW,
        count("n_days", "Days with a surface temperature.", minimum=1),
        count(
            "n_upwelling_days", "Days at least k standard deviations below; null without climatology.", required=False
        ),
        double("upwelling_frequency", "n_upwelling_days / n_days; null without climatology.", minimum=0, maximum=1),
        double("k", "Number of standard deviations.", required=True),
    ),
    key=("dataset_id", "location_grid", "cell_deg", "time_window", "window_start"),
    order=("dataset_id", "location_grid", "window_start"),
)
