-- For each contested ask: the time of the newest feature row that had happened and was known then.
-- Inputs: _ask (ask, key, instant), _contested_rows (ask), _doubtful (key, event_time, known_at). Only keys and instants
-- are read here; the values of the picked rows are gathered afterwards (gather.sql).
create or replace temp table _pick as
with _contested as (
    from _ask semi join _contested_rows using (ask)
),
_candidate as (
    select key, event_time, known_at from _doubtful semi join _contested using (key)
),
prompt as (
    -- Nearly all rows are known at their own time: a plain ASOF join.
    select ask, instant, candidate.key as key, candidate.event_time as event_time
    from _contested asof join (select key, event_time from _candidate where known_at <= event_time) candidate
        on _contested.key = candidate.key and _contested.instant >= candidate.event_time
),
late as (
    -- Rows known later than their time (a date known to the month, say): by known_at, the newest so far.
    select key, known_at, max(max(event_time)) over (partition by key order by known_at) as event_time
    from _candidate
    where known_at > event_time
    group by key, known_at
),
late_pick as (
    select ask, instant, late.key as key, late.event_time as event_time
    from _contested asof join late on _contested.key = late.key and _contested.instant >= late.known_at
)
select ask, any_value(instant) as instant, any_value(key) as key, max(event_time) as event_time
from (from prompt union all from late_pick)
group by ask;
