-- Who may do what. Tenants: a session sees the rows of the tenant it names in `retention.tenant`; none if it names none.
do $$
declare
    tenanted text;
begin
    foreach tenanted in array array[
        'ml_feature_store', 'ml_inference_cache', 'ml_training_cache', 'access_counts', 'tombstones', 'regrets'
    ] loop
        execute format('alter table public.%I enable row level security', tenanted);
        execute format('alter table public.%I force row level security', tenanted);
        execute format(
            'create policy tenant_only on public.%I'
            ' using (current_setting(''retention.tenant'', true) in (tenant, ''*''))',
            tenanted
        );
    end loop;
end
$$;

create schema bi;
comment on schema bi is 'Views for analysts and BI tools: stable names, no payloads, no secrets.';
create view bi.aggregated_time_series as select * from public.aggregated_time_series;
create view bi.performance_metrics as
select recorded_at, metric, value, labels from public.ml_performance_metrics;
create view bi.performance_rollups as
select metric, resolution, labels, window_start, n, sum, min, max, sum / n as mean from public.ml_performance_rollups;
create view bi.retention_policies as
select policy_id, version, dataset, match, keep_seconds, anchor, action, priority, enabled, grace_seconds, reason, created_at
from public.ml_retention_policies where superseded_at is null;
create view bi.plans as
select plan_sha256, dataset, action, as_of, state, refused_because, counts, created_at, started_at, finished_at,
    freed_logical_bytes, freed_file_bytes, freed_disk_bytes
from public.plans;
create view bi.audit as select seq, at, actor, action, subject, plan_sha256, details from public.audit;

grant usage on schema public to retention_service, retention_readonly;
grant usage on schema bi to retention_service, retention_readonly;
grant usage on schema retention_partitions to retention_service, retention_readonly;

alter default privileges in schema public grant select, insert, update, delete on tables to retention_service;
alter default privileges in schema public grant usage, select on sequences to retention_service;
alter default privileges in schema public grant select on tables to retention_readonly;
alter default privileges in schema bi grant select on tables to retention_service, retention_readonly;

grant select, insert, update, delete on all tables in schema public to retention_service;
grant usage, select on all sequences in schema public to retention_service;
grant select on all tables in schema public to retention_readonly;
grant select on all tables in schema bi to retention_service, retention_readonly;
grant select on retention_partitions.days to retention_service, retention_readonly;
grant execute on function public.retention_add_day_partitions(text, date, date) to retention_service;
grant execute on function public.retention_drop_day_partitions(text, date) to retention_service;

-- History stays: added to and, where it has an end, ended, but not removed by the service.
revoke update, delete on public.audit from retention_service;
revoke delete on public.ml_retention_policies, public.holds, public.erasure_orders, public.plans, public.plan_rows,
    public.tombstones, public.regrets, public.api_keys from retention_service;
revoke insert, update, delete on public.retention_migrations from retention_service;
-- Not even the hashes of keys are for reading along.
revoke select on public.api_keys from retention_readonly;
