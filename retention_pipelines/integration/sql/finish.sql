-- Jobs that are done.
update work_queue
set state = 'done', finished_at = now(), worker_id = null, reason = null
where job_id = any(%(job_ids)s) and worker_id = %(worker_id)s and state = 'running'
