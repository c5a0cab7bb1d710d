-- Ask for work, unless the same waits already: what is asked again while it runs is done again after that.
insert into work_queue (tenant, kind, subject, arguments, most_attempts)
select %(tenant)s, %(kind)s, %(subject)s, %(arguments)s, %(most_attempts)s
where not exists (
    select from work_queue
    where tenant = %(tenant)s and kind = %(kind)s and subject = %(subject)s and arguments = %(arguments)s
        and state = 'waiting' and attempts = 0
)
returning job_id
