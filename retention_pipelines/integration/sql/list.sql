-- Jobs, newest first.
select job_id, kind, subject, state, attempts, most_attempts, queued_at, run_at, started_at, finished_at, reason
from work_queue
where tenant = %(tenant)s and (%(state)s::text is null or state = %(state)s)
order by job_id desc
limit %(most)s
