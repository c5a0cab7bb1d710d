-- The latest stored version of the staged rows' features in their own months.
-- Inputs: _pending, _stored.
create or replace temp table _latest as
select feature_id, max(version) as version, arg_max(feature_hash, version) as feature_hash,
       arg_max((event_time, known_at, location_grid), version) as place
from _stored semi join _pending using (feature_id)
group by feature_id;
