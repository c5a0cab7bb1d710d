-- The observations of one month, every column of the catalog. `{month}` is replaced.
with measured as (
    select *, 'temperature_degc' as variable, 'sea_water_temperature' as standard_name, temperature as value from checked
    union all
    select *, 'salinity_psu', 'sea_water_practical_salinity', salinity from checked
    union all
    select *, 'chlorophyll_mg_m3', 'mass_concentration_of_chlorophyll_a_in_sea_water', chlorophyll from checked
)
select record_hash, 'bench'::enum('bench') as dataset_id, 'casts.csv'::enum('casts.csv') as source_file,
    'digest'::enum('digest') as source_sha256, source_row, now() as ingested_at, 'cast'::enum('cast') as source_type,
    null::enum('') as platform_id, event_id, event_date, event_start, event_end, date_precision,
    null::enum('') as source_timezone, latitude as decimal_latitude, longitude as decimal_longitude, depth_m,
    null::double as pressure_dbar, null::double as bottom_depth_m,
    variable::enum('temperature_degc', 'salinity_psu', 'chlorophyll_mg_m3') as variable,
    standard_name::enum('sea_water_temperature', 'sea_water_practical_salinity',
        'mass_concentration_of_chlorophyll_a_in_sea_water') as standard_name,
    value, 'raw'::enum('raw') as value_kind, null::double as raw_value, null::enum('') as qc_flag,
    null::enum('') as raw_qc_flag, 'none'::enum('none') as qc_scale, true as qc_good, null::enum('') as licence,
    null::enum('') as rights_holder, null::enum('') as bibliographic_citation, []::varchar[] as flags,
    null::enum('') as dynamic_properties
from measured
where month = '{month}' and value is not null
