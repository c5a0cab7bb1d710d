-- The rows of versions on their way to the lake, without those an invalidation names.
select
    stored.tenant, stored.cache_key, stored.computed_at, stored.expires_at, stored.compute_seconds,
    stored.payload, stored.payload_codec, stored.payload_mac, stored.function, stored.tags,
    stored.feature_id, stored.feature_type, stored.source_table, stored.source_data_id, stored.temporal_window,
    stored.spatial_resolution, stored.location_grid, stored.event_time, stored.quality_score, stored.priority,
    stored.feature_hash, stored.code_version
from public.ml_feature_store as stored
join unnest(%(tenants)s::text[], %(keys)s::text[], %(instants)s::timestamptz[]) as wanted (tenant, cache_key, computed_at)
    using (tenant, cache_key, computed_at)
where not exists (
    select from public.invalidation_log as said
    where said.at >= stored.computed_at
        and (said.tenant is null or said.tenant = stored.tenant)
        and case said.scope
            when 'all' then true
            when 'key' then said.target = stored.cache_key
            when 'function' then said.target = stored.function
            when 'tag' then said.target = any(stored.tags)
            when 'source' then said.target in (stored.source_table, stored.source_data_id)
            else false
        end
)
