-- Delete versions the lake holds; a newer value of a key has another time of computation and stays.
delete from public.ml_feature_store as stored
using unnest(%(tenants)s::text[], %(keys)s::text[], %(instants)s::timestamptz[]) as held (tenant, cache_key, computed_at)
where stored.tenant = held.tenant and stored.cache_key = held.cache_key and stored.computed_at = held.computed_at
