-- Every governed row with how often and when last it was read: 0 and never where nothing was counted.
select governed.*, coalesce(reads.hits, 0) as access_count, reads.last_accessed_at
from _retention_rows as governed
left join _retention_reads as reads on governed.read_key = reads.key
