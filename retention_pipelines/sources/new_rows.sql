-- Leave out of `checked_rows` what equals another row; it is counted by then.
delete from checked_rows where source_row in (select source_row from duplicate_rows)
