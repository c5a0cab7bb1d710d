-- Jobs done long ago.
delete from work_queue
where tenant = %(tenant)s and state = 'done' and finished_at < now() - make_interval(days => %(days)s)
