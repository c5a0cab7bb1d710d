-- Jobs a worker would take now: those that are due, and those whose worker died.
with running as materialized (
    select distinct worker_id::integer from work_queue where tenant = %(tenant)s and state = 'running'
),
lost as materialized (
    select worker_id from running where pg_try_advisory_xact_lock_shared(hashtext('retention_worker'), worker_id)
)
select count(*)
from work_queue
where tenant = %(tenant)s
    and (state = 'waiting' and run_at <= now() or state = 'running' and worker_id in (select worker_id from lost))
