-- Postgres: add what is new and replace what differs; equal rows are left alone and keep their refreshed_at.
insert into aggregated_time_series as held (
    source_type, dataset_id, variable, layer, location_grid, cell_deg, center_lat, center_lon, time_window,
    window_label, window_start, window_end, n, mean, std, min, max, surface_limit_m, refreshed_at
)
select
    source_type, dataset_id, variable, layer, location_grid, cell_deg, center_lat, center_lon, time_window,
    window_label, window_start, window_end, n, mean, std, min, max, surface_limit_m, transaction_timestamp()
from _fresh
on conflict (source_type, dataset_id, variable, layer, location_grid, cell_deg, time_window, window_start) do update
set center_lat = excluded.center_lat,
    center_lon = excluded.center_lon,
    window_label = excluded.window_label,
    window_end = excluded.window_end,
    n = excluded.n,
    mean = excluded.mean,
    std = excluded.std,
    min = excluded.min,
    max = excluded.max,
    surface_limit_m = excluded.surface_limit_m,
    refreshed_at = excluded.refreshed_at
where (held.center_lat, held.center_lon, held.window_label, held.window_end, held.n, held.mean, held.std, held.min,
       held.max, held.surface_limit_m)
    is distinct from
    (excluded.center_lat, excluded.center_lon, excluded.window_label, excluded.window_end, excluded.n, excluded.mean,
     excluded.std, excluded.min, excluded.max, excluded.surface_limit_m)
