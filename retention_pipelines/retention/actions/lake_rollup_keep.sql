-- Only rows of days and cells that are proven go. Reads: _rollup_rows, _rollup_proof.
create or replace temp table _retention_gone as
select filename, file_row_number
from _rollup_rows
semi join (select * from _rollup_proof where doubt is null) using (source_type, dataset_id, variable, location_grid, day)
where goes
