-- The graveyard: rows and day partitions that a retention run took out, until their grace is over.
-- Frozen: what came later is in later migrations.
create table graveyard (
    plan_sha256 text not null,
    position bigint not null,
    tenant text,
    relation text not null,
    row_id text not null,
    row jsonb default '{}' not null,
    buried_at timestamptz default now() not null,
    constraint pk_graveyard primary key (plan_sha256, position),
    constraint fk_graveyard_plan_sha256 foreign key (plan_sha256) references plans (plan_sha256),
    constraint ck_graveyard_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_graveyard_position check (position >= 0),
    constraint ck_graveyard_relation_filled check (relation <> ''),
    constraint ck_graveyard_row_id_filled check (row_id <> ''),
    constraint ck_graveyard_row check (jsonb_typeof(row) = 'object'),
    constraint ck_graveyard_buried_at check (isfinite(buried_at))
);
comment on table graveyard is 'Rows that a run took out, until their grace is over.';
comment on column graveyard.plan_sha256 is 'Plan that took it out.';
comment on column graveyard.position is 'Place in the plan.';
comment on column graveyard.tenant is 'Whose row it was; null where rows have no tenant.';
comment on column graveyard.relation is 'Table it was in.';
comment on column graveyard.row_id is 'What the plan calls it.';
comment on column graveyard.row is 'The row, column by column.';
comment on column graveyard.buried_at is 'When it was taken out.';

alter table graveyard enable row level security;
alter table graveyard force row level security;
create policy tenant_only on graveyard
    using (tenant is null or current_setting('retention.tenant', true) in (tenant, '*'));

create table buried_partitions (
    plan_sha256 text not null,
    partition text not null,
    relation text not null,
    buried_as text not null,
    n_rows bigint not null,
    size_bytes bigint not null,
    buried_at timestamptz default now() not null,
    constraint pk_buried_partitions primary key (plan_sha256, partition),
    constraint fk_buried_partitions_plan_sha256 foreign key (plan_sha256) references plans (plan_sha256),
    constraint ck_buried_partitions_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_buried_partitions_partition_filled check (partition <> ''),
    constraint ck_buried_partitions_relation_filled check (relation <> ''),
    constraint ck_buried_partitions_buried_as_filled check (buried_as <> ''),
    constraint ck_buried_partitions_n_rows check (n_rows >= 0),
    constraint ck_buried_partitions_size_bytes check (size_bytes >= 0),
    constraint ck_buried_partitions_buried_at check (isfinite(buried_at))
);
comment on table buried_partitions is 'Day partitions that a run took out whole, until their grace is over.';
comment on column buried_partitions.plan_sha256 is 'Plan that took it out.';
comment on column buried_partitions.partition is 'Its name while it was part of its table.';
comment on column buried_partitions.relation is 'Table it was part of.';
comment on column buried_partitions.buried_as is 'Its name in the schema retention_graveyard.';
comment on column buried_partitions.n_rows is 'Rows it holds.';
comment on column buried_partitions.size_bytes is 'Bytes of its files.';
comment on column buried_partitions.buried_at is 'When it was taken out.';

create schema retention_graveyard;
comment on schema retention_graveyard is 'Day partitions that a retention run took out; dropped when their grace is over.';
grant usage on schema retention_graveyard to retention_service;

-- Takes a day's partition out of its table. It stays readable to the service, by tenant, until it is dropped. The caller
-- decides in the same transaction whether it may go; this refuses the newest and the default one whoever asks.
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

create function public.retention_drop_buried_partition(buried_name text)
returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    bytes bigint;
begin
    if to_regclass(format('retention_graveyard.%I', buried_name)) is null then
        return 0;
    end if;
    bytes := pg_total_relation_size(format('retention_graveyard.%I', buried_name)::regclass);
    execute format('drop table retention_graveyard.%I', buried_name);
    return bytes;
end
$$;
comment on function public.retention_drop_buried_partition(text) is
    'Drop a partition that was taken out; returns the bytes its files had.';

revoke all on function public.retention_bury_day_partition(text, text, text, bigint) from public;
revoke all on function public.retention_drop_buried_partition(text) from public;
grant execute on function public.retention_bury_day_partition(text, text, text, bigint) to retention_service;
grant execute on function public.retention_drop_buried_partition(text) to retention_service;
