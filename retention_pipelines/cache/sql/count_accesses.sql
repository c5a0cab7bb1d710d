-- Add counted reads; in the order of keys, so that two processes never wait for each other.
insert into public.access_counts as known (tenant, dataset, key, hits, last_accessed_at)
select %(tenant)s, dataset, key, hits, statement_timestamp() - make_interval(secs => age_seconds)
from unnest(%(datasets)s::text[], %(keys)s::text[], %(hits)s::int8[], %(ages)s::float8[])
    as counted (dataset, key, hits, age_seconds)
order by dataset, key
on conflict (tenant, dataset, key) do update set
    hits = known.hits + excluded.hits,
    last_accessed_at = greatest(known.last_accessed_at, excluded.last_accessed_at)
