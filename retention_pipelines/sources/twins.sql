-- Rows that equal an earlier row of the same file.
create or replace table duplicate_rows as
select source_row from (
    select source_row, row_number() over (partition by record_hash order by source_row) as occurrence
    from checked_rows
    where record_hash in (select record_hash from checked_rows group by record_hash having count(*) > 1)
) where occurrence > 1;
