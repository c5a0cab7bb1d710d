-- The current windows: the newest with data per source type, dataset and length. `fresh` are those to read again: in a
-- partition that changed, or not held so far.
-- Reads: served_window, kept_count, held_window, touched_partition. Variable: everything.
create or replace temp table current_window as
with present as (
    select distinct source_type, dataset_id, time_window, window_start, year from served_window
),
newest as (
    select source_type, dataset_id, time_window, window_start, year
    from present
    join kept_count using (time_window)
    qualify row_number() over (
        partition by source_type, dataset_id, time_window order by window_start desc
    ) <= kept
)
select *,
    getvariable('everything')
    or (source_type, time_window, year) in (select (source_type, time_window, year) from touched_partition)
    or (source_type, dataset_id, time_window, window_start)
        not in (select (source_type, dataset_id, time_window, window_start) from held_window) as fresh
from newest;

create or replace temp view fresh_window as
select * exclude (fresh) from current_window where fresh;
