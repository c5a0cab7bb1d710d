-- Postgres: remove the windows that are not current any more, and of those read again the rows that are gone.
delete from aggregated_time_series as held
where not exists (
    select from _window as w
    where w.source_type = held.source_type and w.dataset_id = held.dataset_id
        and w.time_window = held.time_window and w.window_start = held.window_start
        and not w.fresh
) and not exists (
    select from _fresh as f
    where f.source_type = held.source_type and f.dataset_id = held.dataset_id and f.variable = held.variable
        and f.layer = held.layer and f.location_grid = held.location_grid and f.cell_deg = held.cell_deg
        and f.time_window = held.time_window and f.window_start = held.window_start
)
