-- Climatology of the surface in the cells of a batch's studies: for each of their months, from the same calendar month of
-- earlier years only, which is what was known before the month began. Every year weighs 1 (docs/definitions.md).
-- Inputs: _past_observations (partitions of earlier years' same months), _study; variables cell_deg, surface_m, quantities.
with asked as (
    select distinct month as study_month, location_grid,
           cell_index(latitude, getvariable('cell_deg')) as lat_number,
           cell_index(fold_longitude(longitude), getvariable('cell_deg')) as lon_number
    from _study
),
surface as (
    select cell_index(decimal_latitude, getvariable('cell_deg')) as lat_number,
           cell_index(fold_longitude(decimal_longitude), getvariable('cell_deg')) as lon_number,
           variable, month, value
    from _past_observations
    where variable in (select unnest(getvariable('quantities')::varchar[]))
      and isfinite(value) and qc_good
      and coalesce(depth_m, pressure_dbar) <= getvariable('surface_m')
      -- The whole interval lies in the month.
      and event_end <= date_trunc('month', event_start) + interval 1 month
),
monthly as (
    select lat_number, lon_number, variable, month, avg(value) as monthly_mean
    from surface semi join asked using (lat_number, lon_number)
    group by lat_number, lon_number, variable, month
)
select study_month, location_grid, variable, avg(monthly_mean) as mean, stddev_samp(monthly_mean) as std, count(*) as n_years
from asked join monthly using (lat_number, lon_number)
where monthly.month < study_month and monthly.month[6:] = study_month[6:]
group by study_month, location_grid, variable
