-- By partition, of the rows that would go: how many, how often they were read, and when the last of them expires by its
-- own policy.
select pressed.partition, count(*), coalesce(sum(reads.hits), 0), max(epoch(pressed.anchored_at) + keeps.keep_seconds)
from _retention_pressed as pressed
join _retention_keeps as keeps on keeps.place = pressed.policy
left join _retention_reads as reads on reads.key = pressed.read_key
group by pressed.partition
