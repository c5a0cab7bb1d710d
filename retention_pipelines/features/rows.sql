-- The rows that may answer. Input: _stored. Variables: as_of (null: now), earliest (null: any).
create or replace temp view _row as
select * exclude (feature_id)
from _stored
where (getvariable('as_of') is null or computed_at <= getvariable('as_of'))
  and (getvariable('earliest') is null or event_time >= getvariable('earliest'));
