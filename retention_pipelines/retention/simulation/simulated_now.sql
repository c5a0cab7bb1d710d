-- Every row as it was at the end of the day: its reads up to then. Reads before the log began are only known in number,
-- so they count as if the last of them had been when it began.
create or replace temp view _sim_now as
select
    simulated.* exclude (known_hits, logged_hits, known_last),
    greatest(simulated.known_hits - coalesce(reads.later, 0), 0) as reads_then,
    case
        when reads.last is not null then reads.last
        when simulated.known_last <= clock.as_of then simulated.known_last
        when simulated.known_hits > simulated.logged_hits then clock.log_began
    end as last_read_then
from _sim_rows as simulated
cross join _sim_clock as clock
left join _sim_reads as reads on reads.key = simulated.key
where not simulated.gone and (simulated.computed_at is null or simulated.computed_at <= clock.as_of)
