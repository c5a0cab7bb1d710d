-- Rows that equal a row of an earlier delivery. A row quarantined before that can be used now (a mapping or a joined
-- file was mended) is not one of them.
insert into duplicate_rows
select source_row from checked_rows
where source_row not in (select source_row from duplicate_rows)
  and (record_hash in (select record_hash from lake_rows where dataset_id = getvariable('dataset_id'))
       or (reason is not null
           and record_hash in (select record_hash from lake_quarantine where dataset_id = getvariable('dataset_id'))));
