-- Rows of the touched files that stay.
select * exclude (filename, file_row_number)
from _retention_touched anti join _retention_gone using (filename, file_row_number)
