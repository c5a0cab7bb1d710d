-- Which months hold the records of which studies: studies in more than one month with each of those months, and how many
-- studies begin in a month.
-- Inputs: _record_months (dataset_id, event_id, source_type, month), one row per raw record.
create or replace temp table _study_month as
with months as (
    select distinct dataset_id, event_id, month from _record_months where source_type <> 'grid'
)
select dataset_id, event_id, month, min(month) over study as first_month, count(*) over study as n_months
from months
window study as (partition by dataset_id, event_id);

create or replace temp table _spanning as
select dataset_id, event_id, month, first_month from _study_month where n_months > 1;

create or replace temp table _beginning as
select month, count(*) as studies from _study_month where month = first_month group by month;

drop table _study_month;
