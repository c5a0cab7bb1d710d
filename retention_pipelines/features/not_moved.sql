-- Rows without the versions a later correction moved away from.
-- Inputs: _stored, _moved.
select _stored.*
from _stored left join _moved on _stored.feature_id = _moved.feature_id and _stored.version < _moved.version
where _moved.feature_id is null
