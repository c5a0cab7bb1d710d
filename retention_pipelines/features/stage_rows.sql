-- Add the rows of one feature type to _pending; the content hash covers every column of the type and the common ones.
-- Inputs: _staged; variables feature_type, temporal_window, spatial_resolution, cell_deg.
insert into _pending by name
with complete as (
    select getvariable('feature_type') as feature_type,
           source_data_id || '/' || getvariable('feature_type') as feature_id,
           getvariable('temporal_window') as temporal_window,
           getvariable('spatial_resolution') as spatial_resolution,
           getvariable('cell_deg')::double as cell_deg,
           *
    from _staged
)
select complete.*, md5(to_json(complete)::varchar) as feature_hash
from complete;
