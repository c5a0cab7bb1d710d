-- The latest version of each feature type of a study.
-- Inputs: _stored; variables source_data_id, as_of (null: now).
select *
from _stored
where source_data_id = getvariable('source_data_id')
  and (getvariable('as_of') is null or (computed_at <= getvariable('as_of') and known_at <= getvariable('as_of')))
qualify row_number() over (partition by feature_type order by version desc, computed_at desc, feature_hash desc) = 1
order by feature_type
