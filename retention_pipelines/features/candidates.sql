-- The rows of the keys asked for, in the order of the files.
-- Inputs: _row, _key (key, code).
select code, epoch_us(event_time) as event_time, known_at > event_time as late,
       _row.* exclude (key, event_time, known_at, computed_at, source_data_id, version)
from _row join _key using (key)
