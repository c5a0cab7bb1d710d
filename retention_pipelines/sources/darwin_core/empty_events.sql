-- Events at which nothing was found: no occurrence, no event of their own, nothing measured. An absence without a name,
-- so that an empty haul is data and no statistic counts it as a taxon. Without their occurrences nothing is known of events.
select r.source_row, r.event_id, r.event_date, r.decimal_latitude, r.decimal_longitude,
    given_number(e.depths.low) as minimum_depth_in_meters,
    given_number(e.depths.high) as maximum_depth_in_meters,
    given_number(e.bathymetry) as bottom_depth_m,
    'absent' as occurrence_status, false as is_subtotal,
    e.protocol as sampling_protocol, e.place as locality, e.country as country_code,
    licence_of(coalesce(e.licence, getvariable('licence'))) as licence,
    e.rights_holder as rights_holder,
    coalesce(e.citation, getvariable('citation')) as bibliographic_citation,
    list_append(r.flags, 'EVENT_WITHOUT_OCCURRENCES') as flags,
    without_nulls(e.extra) as dynamic_properties,
    r.reason, r.detail
from dwc_event_rows r
join dwc_event_found e using (event_key)
where getvariable('has_occurrences') and r.is_first and not e.is_parent
    and not exists (from dwc_occurrence_key k where k.event_key = r.event_key)
    and not exists (from dwc_facts f where f.event_key = r.event_key and f.variable is not null)
