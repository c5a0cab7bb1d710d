-- Every distinct `date_text` of the view `dated_rows`, as `written`, with its half-open interval, precision, zone and
-- month; dates that no calendar has have a null event_start.
create or replace temp table parsed_dates as
with distinct_dates as (
    select distinct date_text::varchar as written from dated_rows where date_text is not null
),
ends as (
    select written,
        trim(split_part(written, '/', 1)) as a,
        case when contains(written, '/') then trim(substr(written, strpos(written, '/') + 1)) end as b
    from distinct_dates
),
left_zone as (select *, date_zone(a) as zone_a, split_part(replace(a, ' ', 'T'), 'T', 1) as day_a from ends),
expanded as (select *, case when b <> '' then interval_end(day_a, b) end as whole_b from left_zone),
zoned as (
    select *, date_stripped(a, zone_a) as stripped_a, date_form(a) as form_a, date_form(whole_b) as form_b,
        date_zone(whole_b) as own_zone_b
    from expanded
),
right_zone as (
    select *, coalesce(own_zone_b, case when contains(whole_b, ':') then zone_a end) as zone_b,
        date_stripped(whole_b, own_zone_b) as stripped_b
    from zoned
),
firsts as (
    select *, date_first(form_a, stripped_a, zone_a) as first_a, date_first(form_b, stripped_b, zone_b) as first_b
    from right_zone
),
intervals as (
    select written, zone_a, form_a, b,
        case when first_a between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9998-12-31 23:59:59.999999+00'
                  and (b is null or first_b between first_a and timestamptz '9998-12-31 23:59:59.999999+00')
             then first_a end as event_start,
        case when b is null then date_last(form_a, stripped_a, first_a)
             else date_last(form_b, stripped_b, first_b) end as event_end
    from firsts
)
select written, event_start,
    case when event_start is not null then event_end end as event_end,
    case when event_start is null then null when b is not null then 'interval'
         when form_a in ('year', 'month', 'day') then form_a else 'time'
    end::enum('year', 'month', 'day', 'time', 'interval') as date_precision,
    case when event_start is not null then zone_a end as source_timezone,
    strftime(event_start, '%Y-%m') as month
from intervals;
