-- Longer windows that hold other observations than their days do, so far: records of an interval over several days, or
-- windows that were never computed. A window's n is at least the sum of its days'.
-- Reads: previous_row, touched_window, window_day.
with part as (
    select window_number, n
    from previous_row
    join touched_window as w using (time_window, window_start)
    where layer = 'all' and w.time_window != 'daily'
    union all
    select window_number, -n
    from previous_row as r
    join window_day using (day)
    join touched_window as w using (window_number)
    where layer = 'all' and r.time_window = 'daily' and w.time_window != 'daily'
)
select 1 from part group by window_number having sum(n) != 0 limit 1
