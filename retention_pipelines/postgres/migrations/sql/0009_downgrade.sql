-- As 0008 left them.
alter table public.tombstones drop column position;
drop policy tenant_only on public.cold_files;
alter table public.cold_files no force row level security;
alter table public.cold_files disable row level security;
alter table public.cold_files drop column tenant;
