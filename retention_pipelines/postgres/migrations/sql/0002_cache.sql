-- The caches: what their entries can be invalidated by, which version of a model is current, and a hint to listeners.
-- Frozen: what came later is in later migrations.
alter table public.ml_feature_store
    add column function text,
    add column tags text[] default '{}' not null;
comment on column public.ml_feature_store.function is 'Function that computed the value.';
comment on column public.ml_feature_store.tags is 'What the entry can be invalidated by, beside its function.';

alter table public.ml_inference_cache
    add column function text,
    add column tags text[] default '{}' not null;
comment on column public.ml_inference_cache.function is 'Function that computed the value.';
comment on column public.ml_inference_cache.tags is 'What the entry can be invalidated by, beside its function.';

alter table public.ml_training_cache
    add column function text,
    add column tags text[] default '{}' not null;
comment on column public.ml_training_cache.function is 'Function that computed the value.';
comment on column public.ml_training_cache.tags is 'What the entry can be invalidated by, beside its function.';

-- A function may return a training set of any form; what its form does not tell is not known.
alter table public.ml_training_cache
    alter column n_rows drop not null,
    alter column n_features drop not null;
comment on column public.ml_training_cache.n_rows is 'Rows of X, validation included; null: not known.';
comment on column public.ml_training_cache.n_features is 'Columns of X; null: not known.';

alter table public.models
    add column activated_at timestamptz default clock_timestamp() not null,
    add constraint ck_models_activated_at check (isfinite(activated_at));
comment on column public.models.activated_at is 'When it became the current version, again after going back to it.';

create function public.retention_invalidation_hint() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    -- One per statement, however many rows: notifications are handed out one transaction at a time.
    perform pg_notify('retention_invalidation', '');
    return null;
end
$$;

create trigger invalidation_hint after insert on public.invalidation_log
for each statement execute function public.retention_invalidation_hint();
