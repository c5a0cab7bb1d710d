-- Merge partial statistics into the touched windows of the given lengths, for the layers `all` and `surface`.
-- Reads: series_partial, touched_window. Variables: cell_deg, surface_limit_m.
-- The merge is Chan's: sums of squares around the window's own mean, so 1e6 + small keeps its digits.
with touched as (
    select time_window, make_timestamp(epoch_us(window_start)) as window_start from touched_window
),
placed as (
    select p.*, lengths.time_window, window_start(p.first_day, lengths.time_window) as window_start
    from series_partial as p
    cross join (select distinct time_window from touched) as lengths
    where window_start(p.first_day, lengths.time_window) = window_start(p.last_day, lengths.time_window)
),
member as (
    select unnest(if(is_surface, ['all', 'surface'], ['all'])) as layer, placed.*
    from placed
    semi join touched using (time_window, window_start)
),
center as (
    select source_type, dataset_id, variable, layer, lat_number, lon_number, time_window, window_start,
        sum(n) as n, fsum(n * mean) / sum(n) as mean, min(smallest) as smallest, max(largest) as largest
    from member
    group by all
),
spread as (
    select source_type, dataset_id, variable, layer, lat_number, lon_number, time_window, window_start,
        fsum(m.m2 + m.n * (m.mean - c.mean) ** 2) as m2
    from member as m
    join center as c
        using (source_type, dataset_id, variable, layer, lat_number, lon_number, time_window, window_start)
    group by all
)
select
    source_type, dataset_id, variable, layer,
    cell_name(lat_number, lon_number, getvariable('cell_deg')) as location_grid,
    getvariable('cell_deg') as cell_deg,
    round(cell_corner(lat_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lat,
    round(cell_corner(lon_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lon,
    time_window,
    window_label(window_start, time_window) as window_label,
    make_timestamptz(epoch_us(window_start)) as window_start,
    make_timestamptz(epoch_us(window_end(window_start, time_window))) as window_end,
    n,
    -- Rounding of a mean must not carry it past the values it is the mean of.
    greatest(smallest, least(largest, mean)) as mean,
    if(n < 2, null, sqrt(m2 / (n - 1))) as std,
    smallest as min,
    largest as max,
    getvariable('surface_limit_m') as surface_limit_m,
    strftime(window_start, '%Y') as year
from center
join spread using (source_type, dataset_id, variable, layer, lat_number, lon_number, time_window, window_start)
