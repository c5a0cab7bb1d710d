-- Dead jobs wait again, with all their attempts.
update work_queue
set state = 'waiting', attempts = 0, run_at = now(), finished_at = null
where tenant = %(tenant)s and state = 'dead' and (%(job_id)s::bigint is null or job_id = %(job_id)s)
