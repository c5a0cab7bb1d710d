-- Partial statistics of the observations that count, by series, cell, surface or below, and the first and last UTC day
-- of the record's interval. Windows are whole days, so records with the same first and last day are in the same windows.
-- Reads: source. Variables: cell_deg, surface_limit_m, touched_from, touched_to. NaN and infinity are not values.
create or replace temp table series_partial as
select
    source_type,
    dataset_id,
    variable,
    coalesce(coalesce(depth_m, pressure_dbar) <= getvariable('surface_limit_m'), false) as is_surface,
    cell_index(decimal_latitude, getvariable('cell_deg'))::integer as lat_number,
    cell_index(longitude, getvariable('cell_deg'))::integer as lon_number,
    -- make_timestamp of the epoch is the UTC wall clock; casting the instant itself goes through the slow calendar.
    make_timestamp(epoch_us(event_start))::date as first_day,
    make_timestamp(greatest(epoch_us(event_start), epoch_us(event_end) - 1))::date as last_day,
    count(*) as n,
    favg(value) as mean,
    coalesce(var_samp(value), 0) * (count(*) - 1) as m2,
    min(value) as smallest,
    max(value) as largest
from (select *, fold_longitude(decimal_longitude) as longitude from source)
where qc_good and value is not null and isfinite(value)
    and event_start >= getvariable('touched_from') and event_start < getvariable('touched_to')
group by all
