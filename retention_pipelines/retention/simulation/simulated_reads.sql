-- Of each key: reads later than the day, and the last one up to then.
create or replace temp table _sim_reads as
select
    reads.key,
    coalesce(sum(reads.hits) filter (where reads.day > clock.day), 0) as later,
    max(reads.last) filter (where reads.day <= clock.day) as last
from _sim_log as reads cross join _sim_clock as clock
group by reads.key
