-- Studies whose records lie in more than one month, with each of those months.
-- Inputs: _record_months (dataset_id, event_id, source_type, month), one row per raw record.
create or replace temp table _spanning as
with months as (
    select distinct dataset_id, event_id, month from _record_months where source_type <> 'grid'
)
select dataset_id, event_id, month, min(month) over study as first_month
from months
window study as (partition by dataset_id, event_id)
qualify count(*) over study > 1;
