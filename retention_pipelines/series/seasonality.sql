-- Climatology and seasonal indices. Reads: monthly_mean.
with climatology as (
    select dataset_id, variable, layer, location_grid, cell_deg, any_value(center_lat) as center_lat,
        any_value(center_lon) as center_lon, month, favg(mean) as climatology, stddev_samp(mean) as climatology_std,
        count(*) as n_years
    from monthly_mean
    group by dataset_id, variable, layer, location_grid, cell_deg, month
),
level as (
    select *, favg(climatology) over (partition by dataset_id, variable, layer, location_grid, cell_deg) as level
    from climatology
)
select * exclude (level), climatology - level as index_additive, climatology / nullif(level, 0) as index_ratio
from level
