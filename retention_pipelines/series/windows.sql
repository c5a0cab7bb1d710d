-- Merge partial statistics into all windows, for the layers `all` and `surface`; of touched ones: windows_touched.sql.
-- Reads: series_partial, series_place, touched_window, window_day. Variable: surface_limit_m.
-- The merge is Chan's: sums of squares around the window's own mean, so 1e6 + small keeps its digits.
with member as (
    select place_number, unnest(if(is_surface, ['all', 'surface'], ['all'])) as layer, window_number,
        n, mean, m2, smallest, largest
    from series_partial
    join series_place using (source_type, dataset_id, variable, lat_number, lon_number)
    join window_day as d on d.day = first_day and last_day < d.end_day
),
center as (
    select place_number, layer, window_number,
        sum(n)::bigint as n, fsum(n * mean) / sum(n) as mean, min(smallest) as smallest, max(largest) as largest
    from member
    group by all
),
spread as (
    select place_number, layer, window_number, fsum(m.m2 + m.n * (m.mean - c.mean) ** 2) as m2
    from member as m
    join center as c using (place_number, layer, window_number)
    group by all
)
select
    source_type, dataset_id, variable, layer, location_grid, cell_deg, center_lat, center_lon,
    time_window, window_label, window_start, window_end,
    n,
    -- Rounding of a mean must not carry it past the values it is the mean of.
    greatest(smallest, least(largest, mean)) as mean,
    if(n < 2, null, sqrt(m2 / (n - 1))) as std,
    smallest as min,
    largest as max,
    getvariable('surface_limit_m') as surface_limit_m,
    year
from center
join spread using (place_number, layer, window_number)
join series_place using (place_number)
join touched_window using (window_number)
