-- The climatology of one cell: of surface quantities the one with the most months, then the most years.
with chosen as (
    select dataset_id, variable, location_grid
    from "rows"
    where layer = 'surface'
    group by dataset_id, variable, location_grid
    order by count(*) desc, sum(n_years) desc, variable = 'temperature_degc' desc, dataset_id, variable, location_grid
    limit 1
)
select variable, location_grid, dataset_id, month, climatology, climatology_std, n_years
from "rows"
semi join chosen using (dataset_id, variable, location_grid)
where layer = 'surface'
order by month
