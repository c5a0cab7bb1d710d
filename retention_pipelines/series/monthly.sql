-- Monthly means per dataset, variable, layer and cell. A dataset with several source types has a row for each in
-- aggregated_time_series; weighing them by n gives the mean over single observations again.
-- Reads: monthly_window (rows of aggregated_time_series).
create or replace temp table monthly_mean as
select dataset_id, variable, layer, location_grid, cell_deg, any_value(center_lat) as center_lat,
    any_value(center_lon) as center_lon, year(window_start)::integer as year, month(window_start)::integer as month,
    sum(n) as n, fsum(n * mean) / sum(n) as mean
from monthly_window
group by dataset_id, variable, layer, location_grid, cell_deg, year(window_start), month(window_start)
