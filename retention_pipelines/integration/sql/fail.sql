-- A job whose attempt failed: it waits for its next one, or is dead (no seconds).
update work_queue
set state = case when %(seconds)s::double precision is null then 'dead' else 'waiting' end,
    run_at = case when %(seconds)s::double precision is null then run_at
        else now() + make_interval(secs => %(seconds)s::double precision) end,
    finished_at = case when %(seconds)s::double precision is null then now() end,
    worker_id = null,
    reason = %(reason)s
where job_id = %(job_id)s and worker_id = %(worker_id)s and state = 'running'
