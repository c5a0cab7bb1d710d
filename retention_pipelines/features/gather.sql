-- The feature rows of the picks. Of several rows of one key and time the latest computed wins, then the greatest
-- source_data_id, then the highest version.
-- Inputs: _pick (ask, instant, key, event_time), _row (key, event_time, known_at, computed_at, source_data_id, version, values).
select _pick.ask, epoch_us(_row.event_time) as event_time,
       _row.* exclude (key, event_time, known_at, computed_at, source_data_id, version)
from _pick join _row on _row.key = _pick.key and _row.event_time = _pick.event_time and _row.known_at <= _pick.instant
qualify row_number() over (
    partition by _pick.ask order by _row.computed_at desc, _row.source_data_id desc, _row.version desc
) = 1
