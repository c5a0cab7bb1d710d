-- The rows of the windows to read again. Reads: served_row, fresh_window.
select served_row.*
from served_row
semi join fresh_window using (source_type, dataset_id, time_window, window_start)
