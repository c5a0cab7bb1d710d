-- Everything 0002 made.
drop trigger invalidation_hint on public.invalidation_log;
drop function public.retention_invalidation_hint();
alter table public.models drop column activated_at;
update public.ml_training_cache set n_rows = coalesce(n_rows, 0), n_features = coalesce(n_features, 0);
comment on column public.ml_training_cache.n_rows is 'Rows of X, validation included.';
comment on column public.ml_training_cache.n_features is 'Columns of X.';
alter table public.ml_training_cache
    drop column function,
    drop column tags,
    alter column n_rows set not null,
    alter column n_features set not null;
alter table public.ml_inference_cache drop column function, drop column tags;
alter table public.ml_feature_store drop column function, drop column tags;
