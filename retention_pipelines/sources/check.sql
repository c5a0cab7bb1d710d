-- Staged rows with their verdict: dates parsed, positions checked, longitudes folded. `staged_rows` has what readers
-- give; `parsed_dates` the distinct written dates. A row has the first reason that holds.
create or replace table checked_rows as
with placed as (
    select s.*,
        coalesce(s.given_start, p.event_start) as start_instant,
        coalesce(s.given_end, p.event_end) as end_instant,
        coalesce(s.given_precision, p.date_precision) as precision_written,
        coalesce(p.source_timezone, s.given_timezone) as zone_written,
        -- Once per distinct date, not per row, where the framework parsed it.
        case when s.given_start is null then p.month else strftime(s.given_start, '%Y-%m') end as month
    from staged_rows s left join parsed_dates p on s.date_text = p.written
),
-- What every row goes through is cheap; texts are looked at only where a number is missing.
judged as (
    select *,
        case
            when given_reason is not null then given_reason
            when decimal_latitude is null or decimal_longitude is null
                 or isnan(decimal_latitude) or isnan(decimal_longitude)
                then case when says_nothing(latitude_text) or says_nothing(longitude_text)
                          then 'missing_position' else 'invalid_position' end
            when not (decimal_latitude between -90 and 90) or not (decimal_longitude between -180 and 360)
                then 'invalid_position'
            when decimal_latitude = 0 and decimal_longitude = 0 then 'zero_position'
            when start_instant is null
                then case when says_nothing(event_date) then 'missing_date' else 'invalid_date' end
            when end_instant is null or end_instant <= start_instant then 'invalid_date'
            when counted < 0 then 'invalid_value'
        end as reason
    from placed
)
select * exclude (
        given_reason, given_detail, given_start, given_end, given_precision, given_timezone, date_text,
        latitude_text, longitude_text, given_flags, counted, start_instant, end_instant, precision_written, zone_written)
    replace (
        fold_longitude(decimal_longitude) as decimal_longitude,
        coalesce(event_id, getvariable('dataset_id') || ':' || event_date || '_' || decimal_latitude || '_'
                           || decimal_longitude) as event_id
    ),
    start_instant as event_start,
    end_instant as event_end,
    precision_written as date_precision,
    zone_written as source_timezone,
    case
        when reason is null then null
        when given_reason is not null then coalesce(given_detail, given_reason)
        when says_nothing(latitude_text) or says_nothing(longitude_text)
            then 'latitude is ' || coalesce('''' || latitude_text || '''', 'empty') || ', longitude is '
                 || coalesce('''' || longitude_text || '''', 'empty')
        when start_instant is null then 'the date is ' || coalesce('''' || event_date || '''', 'empty')
        when end_instant <= start_instant then 'the event ends before it starts: ' || event_date
        when counted < 0
            then 'the count is ' || counted
        else 'latitude is ''' || latitude_text || ''', longitude is ''' || longitude_text || ''''
    end as detail,
    case when given_flags is null and event_id is not null and coalesce(start_instant <= getvariable('now'), true)
        then []
        else list_concat(coalesce(given_flags, []), case
            when start_instant > getvariable('now') and event_id is null then ['DATE_IN_FUTURE', 'DERIVED_EVENT_ID']
            when start_instant > getvariable('now') then ['DATE_IN_FUTURE']
            when event_id is null then ['DERIVED_EVENT_ID'] else [] end)
    end as flags
from judged;
