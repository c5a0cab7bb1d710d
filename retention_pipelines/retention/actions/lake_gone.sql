-- Of the rows that have expired now, those the plan names: every one of a planned file of a partition that goes whole;
-- elsewhere by partition, name and the instant their age was counted from.
create or replace temp table _retention_gone as
select filename, file_row_number
from _retention_expired
where filename in (select filename from _retention_dropped)
union all
select expired.filename, expired.file_row_number
from _retention_expired as expired
semi join _retention_planned as planned
    on expired.partition = planned.partition
    and expired.row_id = planned.row_id
    and expired.anchored_at is not distinct from planned.anchored_at
where expired.filename not in (select filename from _retention_dropped)
