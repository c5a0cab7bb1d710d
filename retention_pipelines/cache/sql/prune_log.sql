-- Remove old lines of the invalidation log that say nothing a later one does not: whoever holds a value against an old
-- line, by number or by time, finds the later one. Lines about one key, which seldom repeat, go after 400 days: no older
-- value is served (`vouch.sql`). The newest line always stays. A process that had stopped at a line that is gone forgets
-- everything when it goes on (`invalidations.sql`).
delete from public.invalidation_log as old
where old.at < statement_timestamp() - make_interval(secs => %(keep)s)
    and old.seq < (select max(seq) from public.invalidation_log)
    and (
        (old.scope = 'key' and old.at < statement_timestamp() - interval '400 days')
        or exists (
            select from public.invalidation_log as later
            where later.seq > old.seq and later.at >= old.at
                and later.scope = old.scope
                and later.target is not distinct from old.target
                and later.tenant is not distinct from old.tenant
                -- Of a model: that it was trained again under its old version is more than that another took over.
                and (later.version is null or old.version is not null)
        )
    )
