-- The rows of the keys asked for, in the order of the files, with their place on the line (asof.py).
-- Inputs: _row, _key (key, code); variables line_first, line_span.
select code * getvariable('line_span') + (epoch_us(event_time) - getvariable('line_first')) // 1000000 as place,
       event_time, known_at > event_time as late,
       _row.* exclude (key, event_time, known_at, computed_at, source_data_id, version)
from _row join _key using (key)
