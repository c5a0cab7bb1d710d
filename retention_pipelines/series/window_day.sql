-- The days of every touched window. Reads: touched_window.
create or replace temp table window_day as
select
    window_number,
    unnest(generate_series(
        make_timestamp(epoch_us(window_start)), make_timestamp(epoch_us(window_end)) - interval 1 day, interval 1 day
    ))::date as day,
    make_timestamp(epoch_us(window_end))::date as end_day
from touched_window
