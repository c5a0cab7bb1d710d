-- One staged row per measurement or fact, at the place and time of its event or occurrence. One that measures the ocean
-- at an event is an observation; all others are part of occurrences already and make no row of their own.
select f.source_row,
    coalesce(e.event_id, o.event_id) as event_id,
    coalesce(e.written, o.event_date) as event_date,
    coalesce(e.latitude, o.decimal_latitude) as decimal_latitude,
    coalesce(e.longitude, o.decimal_longitude) as decimal_longitude,
    case when f.at_surface then 0.0
         when given_number(e.depths.low) = given_number(e.depths.high) then given_number(e.depths.low)
    end as depth_m,
    given_number(e.bathymetry) as bottom_depth_m,
    case when f.unmatched is null and f.variable is not null and f.measured is not null and isfinite(f.measured) then
        [struct_pack(variable := f.variable, standard_name := f.standard_name, value := f.measured,
            value_kind := 'raw', raw_value := null::double, qc_flag := null::varchar, raw_qc_flag := null::varchar,
            qc_scale := 'none', qc_good := true)]
    else [] end as measurements,
    licence_of(coalesce(e.licence, getvariable('licence'))) as licence,
    e.rights_holder as rights_holder,
    coalesce(e.citation, getvariable('citation')) as bibliographic_citation,
    case when f.unmatched is not null then 'unmatched_join' end as reason,
    f.unmatched as detail,
    []::varchar[] as flags
from dwc_facts f
left join dwc_event_found e using (event_key)
left join (select source_row as occurrence_row, * exclude (source_row) from dwc_occurrence_rows) o using (occurrence_row)
