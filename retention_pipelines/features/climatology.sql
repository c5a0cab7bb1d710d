-- Climatology of the surface in the studies' cells, from the same calendar month of earlier years only: what was known
-- before the studies' month began. Every year weighs 1 (docs/definitions.md).
-- Inputs: _past_observations (partitions of earlier years' same month), _study; variables cell_deg, surface_m, quantities.
with surface as (
    select location_grid(decimal_latitude, decimal_longitude, getvariable('cell_deg')) as location_grid, variable, month, value
    from _past_observations
    where variable in (select unnest(getvariable('quantities')::varchar[]))
      and value is not null and not isnan(value) and qc_good
      and coalesce(depth_m, pressure_dbar) <= getvariable('surface_m')
      -- The whole interval lies in the month.
      and event_end <= date_trunc('month', event_start) + interval 1 month
),
monthly as (
    select location_grid, variable, month, avg(value) as monthly_mean
    from surface semi join _study using (location_grid)
    group by location_grid, variable, month
)
select location_grid, variable, avg(monthly_mean) as mean, stddev_samp(monthly_mean) as std, count(*) as n_years
from monthly
group by location_grid, variable
