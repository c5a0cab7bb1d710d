-- The days of every touched window. Reads: touched_window.
create or replace temp table window_day as
select window_number, unnest(generate_series(first_day, end_day - 1, interval 1 day))::date as day, end_day
from touched_window
