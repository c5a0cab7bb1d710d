-- Daily rows the series has so far, in the days of the touched windows, as partial statistics.
-- Reads: previous_daily (daily rows), window_day. Variables: cell_deg, hull_from, hull_to.
create or replace temp table previous_day as
with needed as (
    select distinct day from window_day
)
select
    source_type, dataset_id, variable, layer,
    round((center_lat - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lat_number,
    round((center_lon - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lon_number,
    make_timestamp(epoch_us(window_start))::date as day,
    n, mean, coalesce(std, 0) ** 2 * (n - 1) as m2, min as smallest, max as largest
from previous_daily
semi join needed on needed.day = make_timestamp(epoch_us(previous_daily.window_start))::date
where window_start >= getvariable('hull_from') and window_start < getvariable('hull_to')
