-- Daily rows outside the touched period. Reads: previous_row. Variables: touched_from, touched_to.
create or replace temp view kept_day as
select * exclude (time_window, window_start) from previous_row
where time_window = 'daily' and (
    day < make_timestamp(epoch_us(getvariable('touched_from')))::date
    or day >= make_timestamp(epoch_us(getvariable('touched_to')))::date
)
