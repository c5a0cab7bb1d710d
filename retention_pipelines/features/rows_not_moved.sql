-- The rows that may answer, without the versions a later correction moved away from.
-- Inputs: _stored, _moved. Variables: as_of (null: now), earliest (null: any).
create or replace temp view _row as
select _stored.* exclude (feature_id)
from _stored left join _moved on _stored.feature_id = _moved.feature_id and _stored.version < _moved.version
where _moved.feature_id is null
  and (getvariable('as_of') is null or computed_at <= getvariable('as_of'))
  and (getvariable('earliest') is null or event_time >= getvariable('earliest'));
