-- Measurements or facts, each with the event and the occurrence it is about. `dwc_fact` has the rows by term;
-- `dwc_occurrence_key` the occurrences, `dwc_event_found` the events, `dwc_quantity_name` what an event-level name and
-- unit measure in the ocean.
with facts as (
    select f.*,
        case when getvariable('core_is_event') then coalesce(f.part_key, f.eventID) end as event_key,
        case when getvariable('core_is_event') then f.occurrenceID else coalesce(f.part_key, f.occurrenceID) end
            as occurrence_key,
        coalesce(f.part_key, f.eventID, f.occurrenceID) as any_key
    from dwc_fact f
), occurrences as (
    select occurrence_key, min(source_row) as occurrence_row, any_value(event_key) as event_key
    from dwc_occurrence_key where occurrence_key is not null group by occurrence_key
)
select f.source_row, f.occurrence_key, f.measurementType as fact, f.measurementValue as fact_value,
    f.measurementUnit as unit, given_number(f.measurementValue) as number_value,
    quantity_kind(f.measurementType, f.measurementUnit, f.measurementTypeID) as kind,
    o.occurrence_row,
    coalesce(f.event_key, o.event_key) as event_key,
    e.event_key is not null as event_is_known,
    case
        when f.occurrence_key is not null and o.occurrence_row is null
            then 'The occurrence ' || f.occurrence_key || ' is not in the occurrence file.'
        when f.occurrence_key is null and e.event_key is null
            then 'The event ' || coalesce(f.event_key, '(none)') || ' is not in the event file.'
    end as unmatched,
    n.variable, n.standard_name, n.at_surface,
    given_number(f.measurementValue) * n.scale + n."offset" as measured
from facts f
left join occurrences o using (occurrence_key)
left join dwc_event_found e on e.event_key = coalesce(f.event_key, o.event_key)
left join dwc_quantity_name n
    on f.occurrence_key is null and n.name is not distinct from f.measurementType
    and n.unit is not distinct from f.measurementUnit
