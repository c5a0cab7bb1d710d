-- Rows outside of the ranges are counted as duplicates. $1, $2: lower and upper ends of the ranges, in order and apart.
-- Rows that were erased by order are told again, so that no copy of the file is kept.
insert into duplicate_rows
select c.source_row
from (select source_row, reason from checked_rows where source_row not in (select source_row from duplicate_rows)) c
    asof left join (select unnest($1::bigint[]) as low, unnest($2::bigint[]) as high) r on c.source_row >= r.low
where (r.high is null or c.source_row > r.high) and c.reason is distinct from 'erased'
