-- Everything 0001 made; triggers, policies and partitions go with the tables.
drop schema bi cascade;
drop view retention_partitions.days;
drop function public.retention_add_day_partitions(text, date, date);
drop function public.retention_drop_day_partitions(text, date);
drop function public.retention_audit_chain() cascade;
drop function public.retention_audit_refuse() cascade;
drop function public.retention_invalidation_order() cascade;
drop schema retention_partitions cascade;
alter default privileges in schema public revoke all on tables from retention_service, retention_readonly;
alter default privileges in schema public revoke all on sequences from retention_service, retention_readonly;
drop table
    public.roots,
    public.plan_rows,
    public.tombstones,
    public.regrets,
    public.plans,
    public.pins,
    public.models,
    public.ml_training_cache,
    public.ml_retention_policies,
    public.ml_performance_rollups,
    public.ml_performance_metrics,
    public.ml_inference_cache,
    public.ml_feature_store,
    public.leases,
    public.invalidation_log,
    public.holds,
    public.erasure_orders,
    public.audit,
    public.api_keys,
    public.aggregated_time_series,
    public.access_log,
    public.access_counts;
drop sequence public.access_log_seq, public.ml_performance_metrics_seq;
