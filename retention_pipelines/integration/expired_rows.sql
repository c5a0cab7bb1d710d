-- How many rows of each cache have expired by the database's clock, for all tenants: what a cleanup is about to remove.
select
    (select count(*) from public.ml_feature_store where expires_at <= statement_timestamp()),
    (select count(*) from public.ml_inference_cache where expires_at <= statement_timestamp())
