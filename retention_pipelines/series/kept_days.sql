-- Daily rows outside the touched period. Reads: previous_day. Parameters: touched_from, touched_to.
create or replace temp table kept_day as
select * from previous_day
where day < make_timestamp(epoch_us($touched_from::timestamptz))::date
    or day >= make_timestamp(epoch_us($touched_to::timestamptz))::date
