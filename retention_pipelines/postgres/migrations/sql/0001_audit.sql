-- The audit chain: the database numbers and hashes each row, and refuses to change or remove one, whoever asks.
create function public.retention_audit_chain() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    before record;
begin
    -- One writer at a time, until its transaction ends: a chain has no forks and no gaps.
    perform pg_advisory_xact_lock(hashtext('retention_audit'));
    select seq, hash into before from public.audit order by seq desc limit 1;
    new.seq := coalesce(before.seq, 0) + 1;
    new.at := clock_timestamp();
    new.previous_hash := coalesce(before.hash, decode(repeat('00', 32), 'hex'));
    new.hash := sha256(
        new.previous_hash || convert_to(
            jsonb_build_array(
                new.seq, to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                new.actor, new.action, new.subject, new.plan_sha256, new.details
            )::text,
            'UTF8'
        )
    );
    return new;
end
$$;

create function public.retention_audit_refuse() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise insufficient_privilege using message = 'rows of the audit are never changed or removed';
end
$$;

create trigger audit_chain before insert on public.audit for each row execute function public.retention_audit_chain();
create trigger audit_refuse before update or delete on public.audit
for each row execute function public.retention_audit_refuse();
create trigger audit_refuse_truncate before truncate on public.audit
for each statement execute function public.retention_audit_refuse();

-- Numbers of the invalidation log increase in commit order, so that whoever has seen n has seen all below: the lock is
-- taken before a number is.
create function public.retention_invalidation_order() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(hashtext('retention_invalidation'));
    return null;
end
$$;

create trigger invalidation_order before insert on public.invalidation_log
for each statement execute function public.retention_invalidation_order();
