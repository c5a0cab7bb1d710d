-- What windows.sql does, for few windows and with the rows of days that are not computed again. For few rows half of the
-- time is planning: no numbered places here, and a window's parts are kept in a list instead of read a second time, which
-- takes half as long for a day and a third longer for millions of windows.
-- Reads: series_partial, previous_row, touched_window, window_day. Variables: cell_deg, surface_limit_m.
with member as (
    select source_type, dataset_id, variable, lat_number, lon_number,
        unnest(if(is_surface, ['all', 'surface'], ['all'])) as layer, window_number, n, mean, m2, smallest, largest
    from series_partial
    join window_day as d on d.day = first_day and last_day < d.end_day
    union all
    select source_type, dataset_id, variable, lat_number, lon_number,
        layer, window_number, n, mean, m2, smallest, largest
    from previous_row
    join window_day using (day)
    where is_kept
),
center as (
    select source_type, dataset_id, variable, lat_number, lon_number, layer, window_number,
        sum(n)::bigint as n, fsum(n * mean) / sum(n) as mean, min(smallest) as smallest, max(largest) as largest,
        fsum(m2) as m2_inside, list({n: n, mean: mean}) as parts
    from member
    group by all
)
select
    source_type, dataset_id, variable, layer,
    cell_name(lat_number, lon_number, getvariable('cell_deg')) as location_grid,
    getvariable('cell_deg') as cell_deg,
    round(cell_corner(lat_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lat,
    round(cell_corner(lon_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lon,
    time_window, window_label, window_start, window_end,
    n,
    -- Rounding of a mean must not carry it past the values it is the mean of.
    greatest(smallest, least(largest, mean)) as mean,
    if(n < 2, null, sqrt(
        (m2_inside + list_sum(list_transform(parts, lambda part: part.n * (part.mean - mean) ** 2))) / (n - 1)
    )) as std,
    smallest as min,
    largest as max,
    getvariable('surface_limit_m') as surface_limit_m,
    year
from center
join touched_window using (window_number)
