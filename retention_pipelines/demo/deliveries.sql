-- Delivered files by status, with their counts.
select status, count(*) as files, sum("read")::bigint as read, sum(accepted)::bigint as accepted,
       sum(quarantined)::bigint as quarantined, sum(duplicates)::bigint as duplicates
from ingested_files
group by status
order by status
