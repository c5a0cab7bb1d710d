-- Features whose study was moved to another time or cell by a correction, with the version of the last move.
-- Inputs: _stored_type (all files of a feature type); variable as_of (null: now).
create or replace temp table _moved as
select feature_id, max(version) as version
from _stored_type
where moved and (getvariable('as_of') is null or computed_at <= getvariable('as_of'))
group by feature_id;
