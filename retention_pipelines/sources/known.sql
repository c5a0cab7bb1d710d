-- Rows that equal a row of an earlier delivery, with the contents that brought it. A row quarantined before that can be
-- used now (a mapping or a joined file was mended) is not one of them.
create or replace temp table known_rows as
select distinct c.source_row, e.source_sha256
from checked_rows c join lake_rows e on c.record_hash = e.record_hash
where e.dataset_id = getvariable('dataset_id') and c.source_row not in (select source_row from duplicate_rows)
union
select c.source_row, e.source_sha256
from checked_rows c join lake_quarantine e on c.record_hash = e.record_hash
where e.dataset_id = getvariable('dataset_id') and c.reason is not null
    and c.source_row not in (select source_row from duplicate_rows);

insert into duplicate_rows select distinct source_row from known_rows;
