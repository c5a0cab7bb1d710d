-- Rows of files, each with when its file was written.
select scanned.*, written.written_at
from _retention_named_scan as scanned
left join _retention_written as written on scanned.filename = written.filename
