create or replace temp table _sim_clock as
select $day::date as day, $as_of::timestamptz as as_of, $log_began::timestamptz as log_began
