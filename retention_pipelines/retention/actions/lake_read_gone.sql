-- How many of the rows that go were read since it was decided that they do.
select count(*)
from _retention_read_scan as scanned
semi join _retention_gone using (filename, file_row_number)
semi join _retention_read_since as since on scanned.read_key = since.key
