-- What was said after a number, for one tenant; and whether nothing can have been removed from the log since: then the
-- line with that number, or with none the first line ever, is still there (or nothing was ever said).
select
    coalesce((select max(seq) from public.invalidation_log), 0) as newest,
    case when %(seen)s = 0
        then coalesce((select min(seq) from public.invalidation_log), 1) = 1
        else exists (select from public.invalidation_log where seq = %(seen)s)
    end as is_complete,
    coalesce(
        (
            select jsonb_agg(jsonb_build_array(seq, date_part('epoch', at), tenant, scope, target, version) order by seq)
            from public.invalidation_log
            where seq > %(seen)s and (tenant is null or tenant = %(tenant)s)
        ),
        '[]'
    ) as said
