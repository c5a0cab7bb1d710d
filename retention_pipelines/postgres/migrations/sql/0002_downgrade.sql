-- Everything 0002 made.
drop trigger invalidation_hint on public.invalidation_log;
drop function public.retention_invalidation_hint();
alter table public.models drop column activated_at;
alter table public.ml_training_cache drop column function, drop column tags;
alter table public.ml_inference_cache drop column function, drop column tags;
alter table public.ml_feature_store drop column function, drop column tags;
