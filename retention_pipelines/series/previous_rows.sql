-- Rows the series has so far, from the first to the last touched window, as partial statistics. Those to keep are the days
-- that are not computed again. Reads: previous (rows of the series).
-- No temporary table: it is read on another connection. Variables: cell_deg, hull_from, hull_to, touched_from, touched_to.
create or replace table previous_row as
select
    time_window, window_start, source_type, dataset_id, variable, layer,
    round((center_lat - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lat_number,
    round((center_lon - getvariable('cell_deg') / 2) / getvariable('cell_deg'))::integer as lon_number,
    make_timestamp(epoch_us(window_start))::date as day,
    n, mean, coalesce(std, 0) ** 2 * (n - 1) as m2, min as smallest, max as largest,
    time_window = 'daily'
        and (window_start < getvariable('touched_from') or window_start >= getvariable('touched_to')) as is_kept
from previous
where window_start >= getvariable('hull_from') and window_start < getvariable('hull_to')
