-- Daily rows outside the touched period. Reads: previous_day. Variables: touched_from, touched_to.
create or replace temp view kept_day as
select * from previous_day
where day < make_timestamp(epoch_us(getvariable('touched_from')))::date
    or day >= make_timestamp(epoch_us(getvariable('touched_to')))::date
