"""Tables the API and BI tools read: current windows of the series, and measurements of the platform itself."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Numeric, PrimaryKeyConstraint, Sequence

from retention_pipelines.catalog.dataset import Column as CatalogColumn
from retention_pipelines.catalog.dataset import ColumnType
from retention_pipelines.catalog.series import AGGREGATED_TIME_SERIES as SERIES
from retention_pipelines.errors import CatalogError
from retention_pipelines.postgres.tables.base import (
    METADATA,
    choice,
    document,
    in_order,
    instant,
    number,
    table,
    text,
    whole,
)

RESOLUTIONS = ("hourly", "daily")
_METRIC_SEQ = Sequence("ml_performance_metrics_seq", metadata=METADATA)


def _served(column: CatalogColumn) -> Column:
    """The column of a lake dataset here: same name, same meaning, same bounds."""
    match column.type:
        case ColumnType.TEXT if column.allowed:
            return choice(column.name, column.description, column.allowed, required=column.required)
        case ColumnType.TEXT:
            return text(column.name, column.description, required=column.required)
        case ColumnType.INSTANT:
            return instant(column.name, column.description, required=column.required)
        case ColumnType.DOUBLE:
            return number(
                column.name, column.description, required=column.required, low=column.minimum, high=column.maximum
            )
        case ColumnType.BIGINT:
            low = None if column.minimum is None else int(column.minimum)
            return whole(column.name, column.description, required=column.required, low=low)
        case _:
            raise CatalogError(
                f"Column {column.name!r} is {column.type}, which the serving copy cannot hold.",
                hint="Give the type a column in postgres/tables/serving.py, and a migration.",
            )


AGGREGATED_TIME_SERIES = table(
    "aggregated_time_series",
    "Serving copy of the current windows; all windows are in the lake.",
    *(_served(column) for column in SERIES.columns if column.name != "year"),
    instant("refreshed_at", "When the row was copied from the lake."),
    CheckConstraint("window_start < window_end", name="window_start_before_window_end"),
    CheckConstraint("min <= max", name="min_below_max"),
    PrimaryKeyConstraint(*SERIES.key),
    Index(None, "variable", "time_window", "window_start"),
    Index(None, "location_grid", "variable"),
)

SERVING_LOADS = table(
    "serving_loads",
    "The state of the lake a serving copy was last brought to.",
    text("dataset", "Dataset of the lake, and table of its copy."),
    text("lake_table", "Identity of the lake table, which a new lake has not."),
    whole("lake_version", "Version of that table the copy is at."),
    instant("loaded_at", "When, by the database's clock."),
    PrimaryKeyConstraint("dataset"),
)

ML_PERFORMANCE_METRICS = table(
    "ml_performance_metrics",
    "Raw measurements of caches, runs and the service; rolled up before they go.",
    Column("seq", BigInteger, _METRIC_SEQ, server_default=_METRIC_SEQ.next_value(), comment="Order of arrival."),
    instant("recorded_at", "When it was measured."),
    Column("recorded_on", Date, nullable=False, comment="Partition: UTC day of recorded_at."),
    text("metric", "What was measured, with its unit as suffix."),
    number("value", "The measurement.", required=True),
    document("labels", "Low-cardinality labels: tier, dataset, policy."),
    CheckConstraint("recorded_on = (recorded_at at time zone 'UTC')::date", name="recorded_on_is_day_of_recorded_at"),
    PrimaryKeyConstraint("recorded_on", "seq"),
    Index(None, "metric", "recorded_at"),
    postgresql_partition_by="RANGE (recorded_on)",
)

ML_PERFORMANCE_ROLLUPS = table(
    "ml_performance_rollups",
    "Measurements by hour and by day.",
    text("metric", "What was measured."),
    choice("resolution", "hourly or daily.", RESOLUTIONS),
    document("labels", "Labels of the measurements."),
    instant("window_start", "Start of the hour or day."),
    whole("n", "Number of measurements.", low=1),
    number("sum", "Their sum.", required=True),
    number("min", "The smallest.", required=True),
    number("max", "The largest.", required=True),
    instant("rolled_up_at", "When the rollup was written: raw is deletable only if it is not younger."),
    whole("gone_n", "Those of them whose raw rows are gone.", server_default="0"),
    Column("gone_sum", Numeric, nullable=False, server_default="0", comment="Their exact sum."),
    CheckConstraint("min <= max", name="min_below_max"),
    CheckConstraint("gone_n <= n", name="gone_n_within_n"),
    in_order("window_start", "rolled_up_at"),
    PrimaryKeyConstraint("metric", "resolution", "labels", "window_start"),
)
