-- Take jobs that are due: new ones together, or one that failed before, so that it can harm no other.
with due as (
    select job_id
    from work_queue
    where tenant = %(tenant)s and kind = %(kind)s and state = 'waiting' and run_at <= now()
        and (attempts > 0) = %(again)s
    order by run_at, job_id
    limit %(most)s
    for update skip locked
)
update work_queue
set state = 'running', attempts = attempts + 1, started_at = now(), worker_id = %(worker_id)s
where job_id in (select job_id from due)
returning job_id, subject, arguments, attempts, most_attempts
