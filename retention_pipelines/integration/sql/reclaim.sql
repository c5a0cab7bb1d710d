-- Jobs of workers that died, and of this one, which runs none at present: they wait again, or are dead after the last
-- attempt.
with running as materialized (
    select distinct worker_id::integer from work_queue where tenant = %(tenant)s and state = 'running'
),
lost as materialized (
    select worker_id from running where pg_try_advisory_xact_lock(hashtext('retention_worker'), worker_id)
)
update work_queue
set state = case when attempts >= most_attempts then 'dead' else 'waiting' end,
    finished_at = case when attempts >= most_attempts then now() end,
    worker_id = null,
    reason = 'The worker was gone before the job ended.'
where tenant = %(tenant)s and state = 'running' and worker_id in (select worker_id from lost)
