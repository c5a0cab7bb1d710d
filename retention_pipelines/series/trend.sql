-- Series of monthly means with at least 24 months, in order, with their deviation from the climatology.
-- Reads: monthly_mean.
select
    dense_rank() over (order by dataset_id, variable, layer, location_grid, cell_deg) as series,
    dataset_id, variable, layer, location_grid, cell_deg, center_lat, center_lon,
    year + (month - 0.5) / 12 as x,
    mean as y,
    mean - favg(mean) over (partition by dataset_id, variable, layer, location_grid, cell_deg, month) as deseasonalised
from monthly_mean
qualify count(*) over (partition by dataset_id, variable, layer, location_grid, cell_deg) >= 24
order by series, x
