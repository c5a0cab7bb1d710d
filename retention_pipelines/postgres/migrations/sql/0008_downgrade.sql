-- Everything 0008 made; burying a partition is as it was before.
drop function public.retention_bury_day_partition(text, text, text);
drop function public.retention_tell_partition(text, text, text[]);
drop table public.plan_steps;
drop table public.cold_files;
alter table public.ml_performance_rollups drop column gone_n, drop column gone_sum;
alter table public.ml_training_cache drop column compressed_at, drop column stored_bytes;
create function public.retention_bury_day_partition(
    parent_name text, partition_name text, plan text, at_most bigint
)
returns table (buried_as text, n_rows bigint, size_bytes bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    one record;
    found_rows bigint;
begin
    perform pg_advisory_xact_lock(hashtext('retention_partitions'), hashtext(parent_name));
    select days.*, pg_total_relation_size(days.relation) as bytes into one
    from retention_partitions.days as days
    where days.parent = parent_name and days.partition = partition_name
        and days.first_day < (
            select max(newest.first_day) from retention_partitions.days as newest where newest.parent = parent_name
        );
    if not found then
        return;
    end if;
    execute format('lock table %s in exclusive mode', one.relation);
    execute format('select count(*) from %s', one.relation) into found_rows;
    if found_rows > at_most then
        -- More than was decided about: they are for the next plan.
        return;
    end if;
    execute format('alter table public.%I detach partition %s', parent_name, one.relation);
    buried_as := partition_name || '_' || left(plan, 12);
    execute format('alter table %s rename to %I', one.relation, buried_as);
    execute format('alter table retention_partitions.%I set schema retention_graveyard', buried_as);
    if exists (
        select 1 from pg_attribute
        where attrelid = format('retention_graveyard.%I', buried_as)::regclass and attname = 'tenant'
    ) then
        execute format('alter table retention_graveyard.%I enable row level security', buried_as);
        execute format(
            'create policy tenant_only on retention_graveyard.%I'
            ' using (current_setting(''retention.tenant'', true) in (tenant, ''*''))',
            buried_as
        );
    end if;
    execute format('grant select on retention_graveyard.%I to retention_service', buried_as);
    n_rows := found_rows;
    size_bytes := one.bytes;
    return next;
end
$$;
comment on function public.retention_bury_day_partition(text, text, text, bigint) is
    'Take a day partition with at most so many rows out of its table; no row where it may not go.';
revoke all on function public.retention_bury_day_partition(text, text, text, bigint) from public;
grant execute on function public.retention_bury_day_partition(text, text, text, bigint) to retention_service;
