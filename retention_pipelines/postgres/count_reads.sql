-- Add counted reads, in all and by day; in the order of keys, so that two processes never wait for each other. Keys that
-- Postgres cannot tell apart are one.
with counted as materialized (
    select dataset, key, sum(hits)::int8 as hits, statement_timestamp() - make_interval(secs => min(age_seconds)) as read_at
    from unnest(%(datasets)s::text[], %(keys)s::text[], %(hits)s::int8[], %(ages)s::float8[])
        as counted (dataset, key, hits, age_seconds)
    group by dataset, key
    order by dataset, key
), logged as (
    insert into public.access_log as known (accessed_on, tenant, dataset, key, hits, last_accessed_at)
    select (read_at at time zone 'UTC')::date, %(tenant)s, dataset, key, hits, read_at from counted where hits > 0
    on conflict (accessed_on, tenant, dataset, key) do update set
        hits = known.hits + excluded.hits,
        last_accessed_at = greatest(known.last_accessed_at, excluded.last_accessed_at)
)
insert into public.access_counts as known (tenant, dataset, key, hits, last_accessed_at)
select %(tenant)s, dataset, key, hits, read_at from counted
on conflict (tenant, dataset, key) do update set
    hits = known.hits + excluded.hits,
    last_accessed_at = greatest(known.last_accessed_at, excluded.last_accessed_at)
