-- Rows of the lake with what was ever counted of their reads.
create or replace temp table _sim_found as
select found.*, coalesce(reads.hits, 0) as known_hits, reads.last_accessed_at as known_last
from _sim_rows as found
left join _retention_reads as reads on reads.key = found.key
