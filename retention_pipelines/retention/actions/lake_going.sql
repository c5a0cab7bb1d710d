-- Every row that goes.
select * exclude (filename, file_row_number)
from _retention_touched semi join _retention_gone using (filename, file_row_number)
union all by name
select * from _retention_whole
