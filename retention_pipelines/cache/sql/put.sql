-- Store entries ($3: their fields, $4: their payloads one after another, $5: their keys, for the index); the newest
-- value of a key replaces any other, in whatever partition that lies. Instants are counted from the database's clock.
-- Not stored: what has expired already, what is older than the value that is there, and what was computed from before an
-- invalidation that names it.
with incoming as (
    select
        sent.*,
        substring($4 from payload_at for payload_bytes) as payload,
        decode(payload_seal, 'hex') as payload_mac,
        statement_timestamp() - make_interval(secs => age_seconds) as computed_at,
        statement_timestamp() + make_interval(secs => ttl_seconds - age_seconds) as expires_at
    from json_to_recordset($3) as sent ({sent})
),
dated as (
    select *, coalesce((expires_at at time zone 'UTC')::date, 'infinity'::date) as expires_on from incoming
),
valid as (
    select * from dated
    where not exists (
        select from public.invalidation_log as said
        where said.seq > dated.as_of_seq
            and (said.tenant is null or said.tenant = $1)
            and case said.scope
                when 'all' then true
                when 'key' then said.target = dated.cache_key
                when 'function' then said.target = dated.function
                when 'tag' then said.target = any(dated.tags)
                when 'model' then said.version is null and said.target = {model}
                when 'source' then said.target in ({sources})
            end
    )
),
outlived as (
    delete from public.{table} as stored
    using valid
    where stored.tenant = $1 and stored.cache_key = any($5) and stored.cache_key = valid.cache_key
        and stored.expires_on <> valid.expires_on and stored.computed_at <= valid.computed_at
)
insert into public.{table} as stored (tenant, writer, expires_at, expires_on, computed_at, {columns})
select $1, $2, expires_at, expires_on, computed_at, {columns}
from valid
where (expires_at is null or expires_at > statement_timestamp())
    and not exists (
        select from public.{table} as other
        where other.tenant = $1 and other.cache_key = any($5) and other.cache_key = valid.cache_key
            and other.expires_on <> valid.expires_on and other.computed_at > valid.computed_at
    )
on conflict (tenant, cache_key, expires_on) do update set
    (writer, expires_at, computed_at, {columns})
    = row(excluded.writer, excluded.expires_at, excluded.computed_at, {replaced})
where stored.computed_at <= excluded.computed_at
