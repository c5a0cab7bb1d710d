-- Rows that are asked for on the day when nothing of their key is left: of each key the newest one that had gone.
create or replace temp table _sim_returns as
with asked as (
    select
        simulated.n,
        reads.last as asked_at,
        simulated.over,
        simulated.compute_seconds,
        simulated.gone,
        bool_and(simulated.gone or simulated.computed_at > clock.as_of) over (partition by simulated.key) as none_left,
        row_number() over (
            partition by simulated.key order by simulated.gone desc, simulated.computed_at desc nulls last, simulated.n
        ) as place
    from _sim_rows as simulated
    join _sim_log as reads on reads.key = simulated.key
    cross join _sim_clock as clock
    where reads.day = clock.day
)
select n, asked_at, over, compute_seconds from asked where none_left and gone and place = 1
