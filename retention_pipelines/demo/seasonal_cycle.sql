-- One cell's climatology, of the surface quantity and cell that say most: temperature first, then the most months, the
-- most years, the widest range. Named parameters: none; reads seasonal_patterns.
with cells as (
    select dataset_id, variable, location_grid, cell_deg, any_value(center_lat) as center_lat,
           any_value(center_lon) as center_lon, count(*) as months, sum(n_years) as year_months,
           max(climatology) - min(climatology) as spread
    from seasonal_patterns
    where layer = 'surface'
    group by all
),
chosen as (
    select *
    from cells
    where months > 1
    order by variable = 'temperature_degc' desc, months desc, year_months desc, spread desc, dataset_id, location_grid
    limit 1
)
select chosen.dataset_id, chosen.variable, chosen.location_grid, chosen.center_lat, chosen.center_lon,
       seasonal_patterns.month, seasonal_patterns.climatology, seasonal_patterns.n_years
from seasonal_patterns
join chosen using (dataset_id, variable, location_grid, cell_deg)
where seasonal_patterns.layer = 'surface'
order by seasonal_patterns.month
