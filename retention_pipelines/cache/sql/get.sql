-- What there is under a key, or under many, among the days on which an entry may expire: not before $3 days ago, and where a last day is
-- asked for, by then. Both bounds together leave two partitions to be opened instead of all. Instants go out as they are:
-- the process that asked tells the ages, by the instant of the statement, and takes the newest; that costs the server as
-- much as finding the row.
select
    payload,
    payload_codec,
    payload_mac,
    computed_at,
    expires_at,
    statement_timestamp() as now,
    compute_seconds {key}
from public.{table}
where tenant = $1 and cache_key = {asked} and expires_on >= current_date - $3 {until}
