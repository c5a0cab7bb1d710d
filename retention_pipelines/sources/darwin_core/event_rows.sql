-- One staged row per row of the event file, without values: events are part of occurrences and facts already. A parent
-- without a place or date of its own is a container; it counts as accepted when its events have them.
with children as (
    select parentEventID as event_id, arg_min(e.latitude, e.source_row) as latitude,
        arg_min(e.longitude, e.source_row) as longitude, arg_min(e.written, e.source_row) as written
    from dwc_event c
    join dwc_event_found e on e.event_key = coalesce(c.part_key, c.eventID)
    where parentEventID is not null group by parentEventID
)
select raw.source_row,
    coalesce(e.event_id, raw.eventID) as event_id,
    coalesce(e.written, children.written) as event_date,
    coalesce(e.latitude, raw.decimalLatitude, children.latitude) as decimal_latitude,
    coalesce(e.longitude, raw.decimalLongitude, children.longitude) as decimal_longitude,
    e.is_parent,
    case when e.event_key is null then 'unmatched_join' end as reason,
    case when e.event_key is null then 'The event has no eventID.' end as detail,
    case when e.source_row <> raw.source_row then ['EVENT_ID_NOT_UNIQUE'] else []::varchar[] end as flags,
    e.event_key,
    e.source_row = raw.source_row as is_first
from dwc_event raw
left join dwc_event_found e on e.event_key = coalesce(raw.part_key, raw.eventID)
left join children on children.event_id = e.event_id
