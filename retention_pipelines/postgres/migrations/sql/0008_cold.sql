-- How far a run came, where archived rows lie, and rollups that know what of their raw rows is gone.
-- Frozen: what came later is in later migrations.
create table plan_steps (
    plan_sha256 text not null,
    step bigint not null,
    positions int8multirange not null,
    n_rows bigint not null,
    size_bytes bigint not null,
    done_at timestamptz default now() not null,
    constraint pk_plan_steps primary key (plan_sha256, step),
    constraint fk_plan_steps_plan_sha256 foreign key (plan_sha256) references plans (plan_sha256) on delete cascade,
    constraint ck_plan_steps_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_plan_steps_step check (step >= 0),
    constraint ck_plan_steps_n_rows check (n_rows >= 0),
    constraint ck_plan_steps_size_bytes check (size_bytes >= 0),
    constraint ck_plan_steps_done_at check (isfinite(done_at))
);
comment on table plan_steps is 'Batches of a plan''s rows that a run took out, so that a second run goes on where the first ended.';
comment on column plan_steps.plan_sha256 is 'Plan that took it out.';
comment on column plan_steps.step is 'Number of the batch.';
comment on column plan_steps.positions is 'Places in the plan of the rows that went.';
comment on column plan_steps.n_rows is 'How many they are.';
comment on column plan_steps.size_bytes is 'Their bytes.';
comment on column plan_steps.done_at is 'When.';

create table cold_files (
    plan_sha256 text not null,
    name text not null,
    root text not null,
    dataset text not null,
    relation text not null,
    row_id text,
    n_rows bigint not null,
    size_bytes bigint not null,
    raw_bytes bigint not null,
    content_sha256 bytea not null,
    archived_at timestamptz default now() not null,
    constraint pk_cold_files primary key (plan_sha256, name),
    constraint fk_cold_files_plan_sha256 foreign key (plan_sha256) references plans (plan_sha256),
    constraint ck_cold_files_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_cold_files_name_filled check (name <> ''),
    constraint ck_cold_files_root_filled check (root <> ''),
    constraint ck_cold_files_dataset_filled check (dataset <> ''),
    constraint ck_cold_files_relation_filled check (relation <> ''),
    constraint ck_cold_files_n_rows check (n_rows >= 0),
    constraint ck_cold_files_size_bytes check (size_bytes >= 0),
    constraint ck_cold_files_raw_bytes check (raw_bytes >= 0),
    constraint ck_cold_files_content_sha256 check (octet_length(content_sha256) = 32),
    constraint ck_cold_files_archived_at check (isfinite(archived_at))
);
comment on table cold_files is 'Files of rows and training sets that were archived or migrated out of Postgres and the training-set folder.';
comment on column cold_files.plan_sha256 is 'Plan that took it out.';
comment on column cold_files.name is 'Its name under the root.';
comment on column cold_files.root is 'Folder or bucket it is in.';
comment on column cold_files.dataset is 'Whose rows it holds.';
comment on column cold_files.relation is 'Table they were in.';
comment on column cold_files.row_id is 'The training set it holds; null: a file of rows.';
comment on column cold_files.n_rows is 'Rows it holds.';
comment on column cold_files.size_bytes is 'Bytes of the file.';
comment on column cold_files.raw_bytes is 'Bytes of what it holds, before compression.';
comment on column cold_files.content_sha256 is 'Digest of the file.';
comment on column cold_files.archived_at is 'When it was written and read back.';

alter table ml_performance_rollups
    add column gone_n bigint default '0' not null constraint ck_ml_performance_rollups_gone_n check (gone_n >= 0),
    add column gone_sum numeric default '0' not null,
    add constraint ck_ml_performance_rollups_gone_n_within_n check (gone_n <= n);
comment on column ml_performance_rollups.gone_n is 'Those of them whose raw rows are gone.';
comment on column ml_performance_rollups.gone_sum is 'Their exact sum.';

alter table ml_training_cache
    add column compressed_at timestamptz constraint ck_ml_training_cache_compressed_at check (isfinite(compressed_at)),
    add column stored_bytes bigint constraint ck_ml_training_cache_stored_bytes check (stored_bytes >= 0);
comment on column ml_training_cache.compressed_at is 'When its files were compressed; null: they are not.';
comment on column ml_training_cache.stored_bytes is 'Bytes of the compressed files.';

-- Takes a day's partition out of its table, which takes no longer for many rows than for few. Whoever does it compares
-- what it holds with what was planned after that, when nobody waits for it any more, and puts back what differs.
drop function public.retention_bury_day_partition(text, text, text, bigint);
create function public.retention_bury_day_partition(parent_name text, partition_name text, plan text)
returns table (buried_as text, size_bytes bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    one record;
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
    size_bytes := one.bytes;
    return next;
end
$$;
comment on function public.retention_bury_day_partition(text, text, text) is
    'Take a day partition out of its table; no row where it may not go.';

-- How many rows a partition has, and a digest of some of their columns: the same rows in another order tell the same,
-- other ones, or the same written anew, do not.
create function public.retention_tell_partition(schema_name text, partition_name text, columns text[])
returns table (n_rows bigint, told bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    digest text := '0::bigint';
    one record;
begin
    if schema_name not in ('retention_partitions', 'retention_graveyard') then
        raise invalid_parameter_value using message = format('%s holds no day partitions', schema_name);
    end if;
    for one in
        select attribute.attname, attribute.atttypid
        from unnest(columns) with ordinality as asked (name, place)
        join pg_attribute as attribute
            on attribute.attname = asked.name
            and attribute.attrelid = format('%I.%I', schema_name, partition_name)::regclass
        order by asked.place
    loop
        digest := case one.atttypid
            when 'text'::regtype then format('hashtextextended(coalesce(%I, %L), %s)', one.attname, '', digest)
            when 'bigint'::regtype then format('hashint8extended(coalesce(%I, 0), %s)', one.attname, digest)
            else format('hashfloat8extended(coalesce(date_part(%L, %I), 0), %s)', 'epoch', one.attname, digest)
        end;
    end loop;
    return query execute format(
        'select count(*), coalesce(bit_xor(%s), 0) from %I.%I', digest, schema_name, partition_name
    );
end
$$;
comment on function public.retention_tell_partition(text, text, text[]) is
    'Rows of a day partition, and a digest of some of their columns.';

revoke all on function public.retention_bury_day_partition(text, text, text) from public;
grant execute on function public.retention_bury_day_partition(text, text, text) to retention_service;
revoke all on function public.retention_tell_partition(text, text, text[]) from public;
grant execute on function public.retention_tell_partition(text, text, text[]) to retention_service;
