-- Versions that have settled and live on long enough to be worth a place in the lake.
select tenant, cache_key, computed_at
from public.ml_feature_store
where computed_at <= now() - make_interval(secs => %(settled)s)
    and (expires_at is null or expires_at > now() + make_interval(secs => %(worth)s))
order by tenant, cache_key
