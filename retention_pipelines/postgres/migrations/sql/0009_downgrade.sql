-- As 0008 left them.
drop function public.retention_is_outdated(public.ml_inference_cache);
alter table public.tombstones drop column position;
drop policy tenant_only on public.cold_files;
alter table public.cold_files no force row level security;
alter table public.cold_files disable row level security;
alter table public.cold_files drop column tenant;
