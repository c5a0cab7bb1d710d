-- The newest fresh entry of a key; with $3 > 0 also one that expired so many seconds ago at most. The bound on the day
-- lets the planner leave out the partitions of days gone by.
select
    payload,
    payload_codec,
    payload_mac,
    date_part('epoch', statement_timestamp() - computed_at) as age_seconds,
    date_part('epoch', expires_at - statement_timestamp()) as remaining_seconds,
    compute_seconds
from public.{table}
where tenant = $1 and cache_key = $2
    and expires_on >= ((statement_timestamp() - make_interval(secs => $3)) at time zone 'UTC')::date
    and (expires_at is null or expires_at > statement_timestamp() - make_interval(secs => $3))
order by computed_at desc
limit 1
