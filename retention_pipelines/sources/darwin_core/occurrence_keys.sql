-- The event and the occurrence each row of the occurrence file is.
select source_row,
    case when getvariable('core_is_event') then coalesce(part_key, eventID) end as event_key,
    case when getvariable('core_is_event') then occurrenceID else coalesce(part_key, occurrenceID) end as occurrence_key
from dwc_occurrence
