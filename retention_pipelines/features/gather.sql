-- The feature rows of the picks. Of several rows of one key and time the latest computed wins, then the greatest
-- source_data_id, then the highest version.
-- Inputs: _pick (ask, instant, key, event_time), _doubtful (key, event_time, known_at, computed_at, source_data_id,
-- version, values).
select _pick.ask, _doubtful.event_time as event_time,
       _doubtful.* exclude (key, event_time, known_at, computed_at, source_data_id, version)
from _pick join _doubtful
    on _doubtful.key = _pick.key and _doubtful.event_time = _pick.event_time and _doubtful.known_at <= _pick.instant
qualify row_number() over (
    partition by _pick.ask order by _doubtful.computed_at desc, _doubtful.source_data_id desc, _doubtful.version desc
) = 1
