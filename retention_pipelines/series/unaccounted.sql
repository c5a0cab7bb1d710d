-- Observations of the longer windows that are in no daily row, so far: records of an interval over several days.
-- A window's n is at least the sum of its days', so equal totals mean that the days hold every observation.
-- Reads: previous_longer (weekly, monthly and seasonal rows), previous_day, touched_window, window_day.
with longer as (
    select sum(n) as n from previous_longer semi join touched_window using (time_window, window_start)
    where layer = 'all'
),
daily as (
    select sum(n) as n
    from previous_day
    join window_day using (day)
    join touched_window using (window_number)
    where layer = 'all' and time_window != 'daily'
)
select coalesce(longer.n, 0) - coalesce(daily.n, 0) from longer, daily
