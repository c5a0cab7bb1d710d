-- The job that stood in the way of `put`.
select job_id
from work_queue
where tenant = %(tenant)s and kind = %(kind)s and subject = %(subject)s and arguments = %(arguments)s
order by job_id desc
limit 1
