-- Store entries; the newest value of a key replaces any other, in whatever partition that lies. Instants are counted
-- from the database's clock. Not stored: what has expired already, what is older than the value that is there, and what
-- was computed from before an invalidation that names it. The list of keys beside each join is for the index.
with incoming as (
    select
        sent.*,
        statement_timestamp() - make_interval(secs => sent.age_seconds) as computed_at,
        statement_timestamp() + make_interval(secs => sent.ttl_seconds - sent.age_seconds) as expires_at
    from unnest({arrays}) as sent ({sent_columns})
),
dated as (
    select *, coalesce((expires_at at time zone 'UTC')::date, 'infinity'::date) as expires_on from incoming
),
valid as (
    select * from dated
    where not exists (
        select from public.invalidation_log as said
        where said.seq > dated.as_of_seq
            and (said.tenant is null or said.tenant = %(tenant)s)
            and case said.scope
                when 'all' then true
                when 'key' then said.target = dated.cache_key
                when 'function' then said.target = dated.function
                when 'tag' then said.target = any(dated.tags::text[])
                when 'model' then said.version is null and said.target = {model}
                when 'source' then said.target in ({sources})
            end
    )
),
outlived as (
    delete from public.{table} as stored
    using valid
    where stored.tenant = %(tenant)s
        and stored.cache_key = any(%(cache_key)s::text[]) and stored.cache_key = valid.cache_key
        and stored.expires_on <> valid.expires_on and stored.computed_at <= valid.computed_at
)
insert into public.{table} as stored (tenant, writer, expires_at, expires_on, computed_at, tags, {stored_columns})
select %(tenant)s, %(writer)s, expires_at, expires_on, computed_at, tags::text[], {stored_columns}
from valid
where (expires_at is null or expires_at > statement_timestamp())
    and not exists (
        select from public.{table} as other
        where other.tenant = %(tenant)s
            and other.cache_key = any(%(cache_key)s::text[]) and other.cache_key = valid.cache_key
            and other.expires_on <> valid.expires_on and other.computed_at > valid.computed_at
    )
on conflict (tenant, cache_key, expires_on) do update set
    (writer, expires_at, computed_at, tags, {stored_columns})
    = row(excluded.writer, excluded.expires_at, excluded.computed_at, excluded.tags, {replaced_columns})
where stored.computed_at <= excluded.computed_at
