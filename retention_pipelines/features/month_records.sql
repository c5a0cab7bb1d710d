-- The records of the studies that begin in a month: a study's records in later months are included, records of studies
-- that began earlier are not.
-- Inputs: _month_occurrences, _month_observations (the partitions needed), _spanning; variable month.
create or replace temp view _occurrence_records as
select records.*
from _month_occurrences records left join _spanning using (dataset_id, event_id, month)
where coalesce(_spanning.first_month, records.month) = getvariable('month');

create or replace temp view _observation_records as
select records.*
from _month_observations records left join _spanning using (dataset_id, event_id, month)
where coalesce(_spanning.first_month, records.month) = getvariable('month');
