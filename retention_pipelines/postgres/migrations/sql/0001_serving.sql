-- Tables the API and BI tools read: current windows of the series, and measurements of the platform itself. Frozen: what came later is in later migrations.
create sequence ml_performance_metrics_seq;

create table aggregated_time_series (
    source_type text not null,
    dataset_id text not null,
    variable text not null,
    layer text not null,
    location_grid text not null,
    cell_deg double precision not null,
    center_lat double precision not null,
    center_lon double precision not null,
    time_window text not null,
    window_label text not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    n bigint not null,
    mean double precision not null,
    std double precision,
    min double precision not null,
    max double precision not null,
    surface_limit_m double precision not null,
    refreshed_at timestamptz not null,
    constraint pk_aggregated_time_series primary key (source_type, dataset_id, variable, layer, location_grid, cell_deg, time_window, window_start),
    constraint ck_aggregated_time_series_window_start_before_window_end check (window_start < window_end),
    constraint ck_aggregated_time_series_min_below_max check (min <= max),
    constraint ck_aggregated_time_series_source_type check (source_type in ('survey', 'cast', 'float', 'buoy', 'coastal_station', 'grid', 'other')),
    constraint ck_aggregated_time_series_dataset_id_filled check (dataset_id <> ''),
    constraint ck_aggregated_time_series_variable_filled check (variable <> ''),
    constraint ck_aggregated_time_series_layer check (layer in ('surface', 'all')),
    constraint ck_aggregated_time_series_location_grid_filled check (location_grid <> ''),
    constraint ck_aggregated_time_series_cell_deg check (cell_deg > '-infinity' and cell_deg < 'infinity'),
    constraint ck_aggregated_time_series_center_lat check (center_lat > '-infinity' and center_lat < 'infinity'),
    constraint ck_aggregated_time_series_center_lon check (center_lon >= -180 and center_lon <= 180),
    constraint ck_aggregated_time_series_time_window check (time_window in ('daily', 'weekly', 'monthly', 'seasonal')),
    constraint ck_aggregated_time_series_window_label_filled check (window_label <> ''),
    constraint ck_aggregated_time_series_window_start check (isfinite(window_start)),
    constraint ck_aggregated_time_series_window_end check (isfinite(window_end)),
    constraint ck_aggregated_time_series_n check (n >= 1),
    constraint ck_aggregated_time_series_mean check (mean > '-infinity' and mean < 'infinity'),
    constraint ck_aggregated_time_series_std check (std >= 0 and std < 'infinity'),
    constraint ck_aggregated_time_series_min check (min > '-infinity' and min < 'infinity'),
    constraint ck_aggregated_time_series_max check (max > '-infinity' and max < 'infinity'),
    constraint ck_aggregated_time_series_surface_limit_m check (surface_limit_m > '-infinity' and surface_limit_m < 'infinity'),
    constraint ck_aggregated_time_series_refreshed_at check (isfinite(refreshed_at))
);
create index ix_aggregated_time_series_location_grid_variable on aggregated_time_series (location_grid, variable);
create index ix_aggregated_time_series_variable_time_window_window_start on aggregated_time_series (variable, time_window, window_start);
comment on table aggregated_time_series is 'Serving copy of the current windows; all windows are in the lake.';
comment on column aggregated_time_series.source_type is 'Partition: kind of platform.';
comment on column aggregated_time_series.dataset_id is 'Dataset of the observations.';
comment on column aggregated_time_series.variable is 'Quantity with its unit as suffix.';
comment on column aggregated_time_series.layer is 'surface (to the surface limit) or all depths.';
comment on column aggregated_time_series.location_grid is 'Cell: `<lat0>_<lon0>`.';
comment on column aggregated_time_series.cell_deg is 'Size of the cell.';
comment on column aggregated_time_series.center_lat is 'Middle of the cell; past 90 for the cell whose lower edge is the pole.';
comment on column aggregated_time_series.center_lon is 'Middle of the cell.';
comment on column aggregated_time_series.time_window is 'Partition: length of the window.';
comment on column aggregated_time_series.window_label is 'Name of the window: 2017-08-14, 2017-W32, 2017-08 or 2018-DJF.';
comment on column aggregated_time_series.window_start is 'Start, UTC, inclusive.';
comment on column aggregated_time_series.window_end is 'End, UTC, exclusive.';
comment on column aggregated_time_series.n is 'Number of observations.';
comment on column aggregated_time_series.mean is 'Mean in the variable''s unit.';
comment on column aggregated_time_series.std is 'Sample standard deviation (ddof 1); null when n < 2.';
comment on column aggregated_time_series.min is 'Smallest value.';
comment on column aggregated_time_series.max is 'Largest value.';
comment on column aggregated_time_series.surface_limit_m is 'Depth limit of the surface layer when the row was computed.';
comment on column aggregated_time_series.refreshed_at is 'When the row was copied from the lake.';

create table ml_performance_metrics (
    seq bigint default nextval('ml_performance_metrics_seq') not null,
    recorded_at timestamptz not null,
    recorded_on date not null,
    metric text not null,
    value double precision not null,
    labels jsonb default '{}' not null,
    constraint pk_ml_performance_metrics primary key (recorded_on, seq),
    constraint ck_ml_performance_metrics_recorded_on_is_day_of_recorded_at check (recorded_on = (recorded_at at time zone 'UTC')::date),
    constraint ck_ml_performance_metrics_recorded_at check (isfinite(recorded_at)),
    constraint ck_ml_performance_metrics_metric_filled check (metric <> ''),
    constraint ck_ml_performance_metrics_value check (value > '-infinity' and value < 'infinity'),
    constraint ck_ml_performance_metrics_labels check (jsonb_typeof(labels) = 'object')
)
partition by range (recorded_on);
create index ix_ml_performance_metrics_metric_recorded_at on ml_performance_metrics (metric, recorded_at);
comment on table ml_performance_metrics is 'Raw measurements of caches, runs and the service; rolled up before they go.';
comment on column ml_performance_metrics.seq is 'Order of arrival.';
comment on column ml_performance_metrics.recorded_at is 'When it was measured.';
comment on column ml_performance_metrics.recorded_on is 'Partition: UTC day of recorded_at.';
comment on column ml_performance_metrics.metric is 'What was measured, with its unit as suffix.';
comment on column ml_performance_metrics.value is 'The measurement.';
comment on column ml_performance_metrics.labels is 'Low-cardinality labels: tier, dataset, policy.';

create table ml_performance_rollups (
    metric text not null,
    resolution text not null,
    labels jsonb default '{}' not null,
    window_start timestamptz not null,
    n bigint not null,
    sum double precision not null,
    min double precision not null,
    max double precision not null,
    rolled_up_at timestamptz not null,
    constraint pk_ml_performance_rollups primary key (metric, resolution, labels, window_start),
    constraint ck_ml_performance_rollups_min_below_max check (min <= max),
    constraint ck_ml_performance_rollups_window_start_before_rolled_up_at check (window_start <= rolled_up_at),
    constraint ck_ml_performance_rollups_metric_filled check (metric <> ''),
    constraint ck_ml_performance_rollups_resolution check (resolution in ('hourly', 'daily')),
    constraint ck_ml_performance_rollups_labels check (jsonb_typeof(labels) = 'object'),
    constraint ck_ml_performance_rollups_window_start check (isfinite(window_start)),
    constraint ck_ml_performance_rollups_n check (n >= 1),
    constraint ck_ml_performance_rollups_sum check (sum > '-infinity' and sum < 'infinity'),
    constraint ck_ml_performance_rollups_min check (min > '-infinity' and min < 'infinity'),
    constraint ck_ml_performance_rollups_max check (max > '-infinity' and max < 'infinity'),
    constraint ck_ml_performance_rollups_rolled_up_at check (isfinite(rolled_up_at))
);
comment on table ml_performance_rollups is 'Measurements by hour and by day.';
comment on column ml_performance_rollups.metric is 'What was measured.';
comment on column ml_performance_rollups.resolution is 'hourly or daily.';
comment on column ml_performance_rollups.labels is 'Labels of the measurements.';
comment on column ml_performance_rollups.window_start is 'Start of the hour or day.';
comment on column ml_performance_rollups.n is 'Number of measurements.';
comment on column ml_performance_rollups.sum is 'Their sum.';
comment on column ml_performance_rollups.min is 'The smallest.';
comment on column ml_performance_rollups.max is 'The largest.';
comment on column ml_performance_rollups.rolled_up_at is 'When the rollup was written: raw is deletable only if it is not younger.';
