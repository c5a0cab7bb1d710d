-- Rows the series has so far, in the days of the touched windows and of these windows, as partial statistics.
-- Reads: previous (rows of the series), touched_window, window_day. Variables: cell_deg, hull_from, hull_to.
create or replace temp table previous_row as
with needed as (
    select time_window, window_start from touched_window
    union
    select 'daily', make_timestamptz(epoch_us(day::timestamp)) from window_day
)
select
    time_window, window_start, source_type, dataset_id, variable, layer,
    round((center_lat - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lat_number,
    round((center_lon - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lon_number,
    make_timestamp(epoch_us(window_start))::date as day,
    n, mean, coalesce(std, 0) ** 2 * (n - 1) as m2, min as smallest, max as largest
from previous
semi join needed using (time_window, window_start)
where window_start >= getvariable('hull_from') and window_start < getvariable('hull_to')
