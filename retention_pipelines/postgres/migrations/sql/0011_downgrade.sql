-- As 0010 left them.
alter table public.ml_retention_policies drop column tolerance;
