-- How many of the rows that go were read since it was decided that they do.
select count(*)
from _retention_expired as expired
semi join _retention_gone using (filename, file_row_number)
semi join _retention_read_since as since on expired.read_key = since.key
