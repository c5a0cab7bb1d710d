-- Whether an entry of the lake may be served: its age and what remains of its life by the database's clock, unless an
-- invalidation since it was computed names it. The log does not go back further than 400 days for keys.
select
    date_part('epoch', statement_timestamp() - %(computed_at)s::timestamptz) as age_seconds,
    date_part('epoch', %(expires_at)s::timestamptz - statement_timestamp()) as remaining_seconds
where %(computed_at)s::timestamptz > statement_timestamp() - interval '400 days'
    and (%(expires_at)s::timestamptz is null or %(expires_at)s::timestamptz > statement_timestamp())
    and not exists (
        select from public.invalidation_log as said
        where said.at >= %(computed_at)s::timestamptz
            and (said.tenant is null or said.tenant = %(tenant)s::text)
            and case said.scope
                when 'all' then true
                when 'key' then said.target = %(cache_key)s::text
                when 'function' then said.target = %(function)s::text
                when 'tag' then said.target = any(%(tags)s::text[])
                when 'source' then said.target in (%(source_table)s::text, %(source_data_id)s::text)
                else false
            end
    )
