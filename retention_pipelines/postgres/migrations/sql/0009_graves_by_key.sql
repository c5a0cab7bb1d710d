-- Files of the archive are seen by the tenant whose training set they hold, as their neighbours are; those that hold rows
-- of all tenants by who acts for all. A tombstone says where in the graveyard its entry lies, so that a request within the
-- grace finds it without an index that every removal would have to keep. Frozen: what came later is in later migrations.
alter table cold_files add column tenant text;
comment on column cold_files.tenant is 'Whose training set it holds; null: a file of rows, which may be of all tenants.';
update cold_files set tenant = row_id::jsonb ->> 0 where row_id is not null;

alter table cold_files enable row level security;
alter table cold_files force row level security;
create policy tenant_only on cold_files using (current_setting('retention.tenant', true) in (tenant, '*'));

alter table tombstones add column position bigint constraint ck_tombstones_position check (position >= 0);
comment on column tombstones.position is 'Its place in the plan, by which the graveyard has it while its grace lasts.';

-- What was invalidated while it lay in the graveyard or the archive must not be served again. The log keeps of what it was
-- told the last, for keys 400 days: older entries of a life without end are taken for outdated.
create function public.retention_is_outdated(entry public.ml_inference_cache) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select entry.computed_at < statement_timestamp() - interval '400 days' or exists (
        select from public.invalidation_log as said
        where said.at >= entry.computed_at
            and (said.tenant is null or said.tenant = entry.tenant)
            and case said.scope
                when 'all' then true
                when 'key' then said.target = entry.cache_key
                when 'function' then said.target = entry.function
                when 'tag' then said.target = any(entry.tags)
                -- Another version that took over is part of the key.
                when 'model' then said.version is null and said.target = entry.model_id
                else false
            end
    )
$$;
comment on function public.retention_is_outdated(public.ml_inference_cache) is
    'Whether an invalidation since it was computed names an entry.';
revoke all on function public.retention_is_outdated(public.ml_inference_cache) from public;
grant execute on function public.retention_is_outdated(public.ml_inference_cache) to retention_service;
