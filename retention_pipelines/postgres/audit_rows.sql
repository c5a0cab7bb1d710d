-- Rows of the audit with the text their hashes are over: the same array the trigger builds.
select
    seq,
    previous_hash,
    hash,
    pg_catalog.jsonb_build_array(
        seq, pg_catalog.to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        actor, action, subject, plan_sha256, details
    )::text as content
from public.audit
order by seq
