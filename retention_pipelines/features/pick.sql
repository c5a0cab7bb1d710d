-- For each ask (key, instant): the time of the newest feature row that had happened and was known then.
-- Inputs: _ask (ask, key, instant), _candidate (key, event_time, known_at). Only keys and instants are read here, so the
-- sort is narrow; the values of the few rows picked are gathered afterwards (gather.sql).
create or replace temp table _pick as
with prompt as (
    -- Nearly all rows are known at their own time: a plain ASOF join.
    select ask, instant, candidate.key as key, candidate.event_time as event_time
    from _ask asof join (select key, event_time from _candidate where known_at <= event_time) candidate
        on _ask.key = candidate.key and _ask.instant >= candidate.event_time
),
late as (
    -- Rows known later than their time (a date known to the month, say): by known_at, the newest so far.
    select key, known_at, max(max(event_time)) over (partition by key order by known_at) as event_time
    from _candidate semi join _ask using (key)
    where known_at > event_time
    group by key, known_at
),
late_pick as (
    select ask, instant, late.key as key, late.event_time as event_time
    from _ask asof join late on _ask.key = late.key and _ask.instant >= late.known_at
)
select ask, any_value(instant) as instant, any_value(key) as key, max(event_time) as event_time
from (from prompt union all from late_pick)
group by ask;
