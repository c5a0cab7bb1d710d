-- The records of the studies that begin in the months of a batch: a study's records in later months are included, records
-- of studies that began in other months are not.
-- Inputs: _month_occurrences, _month_observations (the partitions needed), _spanning; variable months.
create or replace temp view _occurrence_records as
select records.*
from _month_occurrences records left join _spanning using (dataset_id, event_id, month)
where coalesce(_spanning.first_month, records.month) in (select unnest(getvariable('months')::varchar[]));

create or replace temp view _observation_records as
select records.*
from _month_observations records left join _spanning using (dataset_id, event_id, month)
where coalesce(_spanning.first_month, records.month) in (select unnest(getvariable('months')::varchar[]));
