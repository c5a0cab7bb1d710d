-- Partitions by day live in a schema of their own: people see the tables, and only these two functions make or drop a
-- partition. They run as their owner, so that a service that may not drop a table can still expire days.
create schema retention_partitions;
comment on schema retention_partitions is 'Partitions of the hot tables by day; read them through their tables.';

-- The default partitions: no insert is ever refused for want of a partition.
create table retention_partitions.ml_feature_store_default partition of public.ml_feature_store default;
create table retention_partitions.ml_inference_cache_default partition of public.ml_inference_cache default;
create table retention_partitions.ml_performance_metrics_default partition of public.ml_performance_metrics default;
create table retention_partitions.access_log_default partition of public.access_log default;

create view retention_partitions.days as
select
    parent.relname::text as parent,
    partition.relname::text as partition,
    partition.oid::regclass as relation,
    substring(bounds.expression from 'FROM \(''([^'']+)''\)')::date as first_day,
    substring(bounds.expression from 'TO \(''([^'']+)''\)')::date as end_day
from pg_catalog.pg_inherits as link
join pg_catalog.pg_class as parent on parent.oid = link.inhparent
join pg_catalog.pg_class as partition on partition.oid = link.inhrelid
cross join lateral (select pg_catalog.pg_get_expr(partition.relpartbound, partition.oid) as expression) as bounds
where parent.relnamespace = 'public'::regnamespace
    and partition.relnamespace = 'retention_partitions'::regnamespace
    and parent.relkind = 'p'
    and bounds.expression <> 'DEFAULT';
comment on view retention_partitions.days is 'Day partitions and their bounds: first_day <= day < end_day.';

create function public.retention_add_day_partitions(parent_name text, first_day date, last_day date)
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    day_column name;
    one date;
    made integer := 0;
    partition_name name;
begin
    select attribute.attname into day_column
    from pg_partitioned_table as partitioned
    join pg_class as class on class.oid = partitioned.partrelid
    join pg_attribute as attribute on attribute.attrelid = class.oid and attribute.attnum = partitioned.partattrs[0]
    where class.relname = parent_name and class.relnamespace = 'public'::regnamespace
        and attribute.atttypid = 'date'::regtype;
    if day_column is null then
        raise undefined_table using message = format('%s is not a table partitioned by day', parent_name);
    end if;
    if last_day - first_day not between 0 and 800 then
        raise invalid_parameter_value using message = format('%s to %s is not 1 to 800 days', first_day, last_day);
    end if;
    perform pg_advisory_xact_lock(hashtext('retention_partitions'), hashtext(parent_name));
    for one in select generate_series(first_day, last_day, interval '1 day')::date loop
        partition_name := parent_name || to_char(one, '"_"YYYYMMDD');
        continue when to_regclass(format('retention_partitions.%I', partition_name)) is not null;
        -- Made beside, filled from the default partition, attached last: readers wait for that moment only.
        execute format(
            'create table retention_partitions.%I (like public.%I including defaults including constraints)',
            partition_name, parent_name
        );
        execute format(
            'with moved as (delete from retention_partitions.%I where %I = %L returning *)'
            ' insert into retention_partitions.%I select * from moved',
            parent_name || '_default', day_column, one, partition_name
        );
        execute format(
            'alter table public.%I attach partition retention_partitions.%I for values from (%L) to (%L)',
            parent_name, partition_name, one, one + 1
        );
        made := made + 1;
    end loop;
    return made;
end
$$;
comment on function public.retention_add_day_partitions(text, date, date) is
    'Make the partitions of a table for these days, both included; rows waiting in the default partition move over.';

create function public.retention_drop_day_partitions(parent_name text, horizon date)
returns table (partition text, first_day date, size_bytes bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    gone record;
begin
    perform pg_advisory_xact_lock(hashtext('retention_partitions'), hashtext(parent_name));
    for gone in
        select days.*, pg_total_relation_size(days.relation) as bytes
        from retention_partitions.days as days
        where days.parent = parent_name and days.end_day <= horizon
            -- Never the newest.
            and days.first_day < (
                select max(newest.first_day) from retention_partitions.days as newest where newest.parent = parent_name
            )
        order by days.first_day
    loop
        execute format('drop table %s', gone.relation);
        partition := gone.partition;
        first_day := gone.first_day;
        size_bytes := gone.bytes;
        return next;
    end loop;
end
$$;
comment on function public.retention_drop_day_partitions(text, date) is
    'Drop the partitions whose last day is before the horizon, never the newest, never the default one.';

revoke all on function public.retention_add_day_partitions(text, date, date) from public;
revoke all on function public.retention_drop_day_partitions(text, date) from public;
