-- The same for features whose study lay in another month before: a corrected date moves it to another partition.
-- Inputs: _pending, _latest, _stored (files of the other months).
insert into _latest
select feature_id, max(version), arg_max(feature_hash, version), arg_max((event_time, known_at, location_grid), version)
from _stored semi join _pending using (feature_id) anti join _latest using (feature_id)
group by feature_id;
