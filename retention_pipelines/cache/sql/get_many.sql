-- The newest fresh entries of many keys with the further columns of the table, for people and reports.
select distinct on (cache_key)
    cache_key,
    payload,
    payload_codec,
    payload_mac,
    date_part('epoch', statement_timestamp() - computed_at) as age_seconds,
    date_part('epoch', expires_at - statement_timestamp()) as remaining_seconds,
    compute_seconds
    {columns}
from public.{table}
where tenant = %(tenant)s and cache_key = any(%(keys)s::text[])
    and expires_on >= ((statement_timestamp() - make_interval(secs => %(stale)s)) at time zone 'UTC')::date
    and (expires_at is null or expires_at > statement_timestamp() - make_interval(secs => %(stale)s))
order by cache_key, computed_at desc
