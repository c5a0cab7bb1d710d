-- What was said after a number, for one tenant, or without a number in so many seconds; and whether nothing can have been
-- removed from the log since: then the line with that number, or with none the first line ever, is still there (or
-- nothing was ever said). Lines are kept for days. And whether a run took predictions out whose grace lasts: then lookups
-- look there, too; not in a database of an older state, which does not let who only reads ask for invalidations.
with said as (
    select * from public.invalidation_log
    where (tenant is null or tenant = %(tenant)s)
        and seq > coalesce(
            %(seen)s::bigint,
            (
                select min(seq) - 1 from public.invalidation_log
                where at > statement_timestamp() - make_interval(secs => %(alive)s)
            ),
            9223372036854775807
        )
)
select
    coalesce((select max(seq) from public.invalidation_log), 0) as newest,
    case
        when %(seen)s is null then %(alive)s < 86400
        when %(seen)s = 0 then coalesce((select min(seq) from public.invalidation_log), 1) = 1
        else exists (select from public.invalidation_log where seq = %(seen)s)
    end as is_complete,
    coalesce(
        (
            select jsonb_agg(jsonb_build_array(seq, date_part('epoch', at), tenant, scope, target, version) order by seq)
            from said
        ),
        '[]'
    ) as said,
    exists (
        select from public.plans
        where dataset = 'inference_cache' and state not in ('refused', 'done', 'restored')
            and grace_until > statement_timestamp()
    )
    and coalesce(
        has_function_privilege(to_regprocedure('public.retention_is_outdated(public.ml_inference_cache)'), 'execute'),
        false
    ) as are_buried
