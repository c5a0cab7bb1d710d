-- Where the rows lie that have expired now, but for partitions in which those are more than were planned.
create or replace temp table _rounding_places as
with found as (select partition, count(*) as n from _retention_expired group by partition)
select expired.filename, expired.file_row_number
from _retention_expired as expired
join found using (partition)
join _pack_planned as planned using (partition)
where found.n <= planned.rows
