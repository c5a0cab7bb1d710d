-- Events with what they inherit from their parents, one row per event. `dwc_event` has the rows of the event file by
-- term. Columns of one fact (a date, a position, a depth range) are inherited together, never mixed.
with recursive numbered as (
    select *, coalesce(part_key, eventID) as event_key,
        row_number() over (partition by coalesce(part_key, eventID) order by source_row) as repeat,
        written_date(eventDate, eventTime, "year", "month", "day") as written
    from dwc_event
), events as (
    select * from numbered where repeat = 1 and event_key is not null
), lineage as (
    select event_key, event_key as ancestor, parentEventID as next, 0 as level from events
    union all
    -- Twenty generations: a chain of parents that is longer goes in a circle.
    select lineage.event_key, events.event_key, events.parentEventID, level + 1
    from lineage join events on coalesce(events.eventID, events.event_key) = lineage.next
    where level < 20
), parents as (
    select distinct parentEventID as event_id from dwc_event where parentEventID is not null
)
select lineage.event_key,
    arg_min(coalesce(up.eventID, up.event_key), level) as event_id,
    arg_min(up.source_row, level) as source_row,
    bool_or(level = 0 and parents.event_id is not null) as is_parent,
    arg_min(up.written, level) as written,
    arg_min(up.decimalLatitude, level) filter (up.decimalLongitude is not null) as latitude,
    arg_min(up.decimalLongitude, level) filter (up.decimalLatitude is not null) as longitude,
    arg_min(up.coordinateUncertaintyInMeters, level) as uncertainty,
    arg_min(struct_pack(low := up.minimumDepthInMeters, high := up.maximumDepthInMeters), level)
        filter (coalesce(up.minimumDepthInMeters, up.maximumDepthInMeters) is not null) as depths,
    arg_min(up.bathymetry, level) as bathymetry,
    arg_min(up.samplingProtocol, level) as protocol,
    arg_min(up.locality, level) as place,
    arg_min(up.countryCode, level) as country,
    arg_min(up.license, level) as licence,
    arg_min(up.rightsHolder, level) as rights_holder,
    arg_min(up.bibliographicCitation, level) as citation,
    arg_min(up.extra, level) as extra
from lineage
join events up on up.event_key = lineage.ancestor
left join parents on parents.event_id = coalesce(up.eventID, up.event_key)
group by lineage.event_key
