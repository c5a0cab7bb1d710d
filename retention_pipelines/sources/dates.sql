-- Event dates as published: ISO 8601 with the precision it was written in. The reference in Python is dates.py; a test
-- compares the two. Temporary macros, loaded once per connection. Each takes plain columns: a macro's argument is
-- pasted wherever the macro names it, so nesting them would grow the query without bound.

-- Precision of one written date, from its form alone; null where it is none of the known forms.
create or replace temp macro date_form(d) as case
    when regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}[T ]([01]?\d|2[0-3]):\d{2}:\d{2}( ?(Z|UTC|GMT|[+-]([01]\d|2[0-3])(:?[0-5]\d)?))?') then 'second'
    when regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}') then 'day'
    when regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}[T ]([01]?\d|2[0-3]):\d{2}( ?(Z|UTC|GMT|[+-]([01]\d|2[0-3])(:?[0-5]\d)?))?') then 'minute'
    when regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}[T ]([01]?\d|2[0-3]):\d{2}:\d{2}[.,]\d{1,9}( ?(Z|UTC|GMT|[+-]([01]\d|2[0-3])(:?[0-5]\d)?))?') then 'fraction'
    when regexp_full_match(d, '\d{4}') then 'year'
    when regexp_full_match(d, '\d{4}-\d{1,2}') then 'month'
    when regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}T([01]?\d|2[0-3])( ?(Z|UTC|GMT|[+-]([01]\d|2[0-3])(:?[0-5]\d)?))?') then 'hour'
    end;

-- The zone a date with a time ends in, as written, or null.
create or replace temp macro date_zone(d) as case
    when right(d, 1) = 'Z' then 'Z'
    when length(d) > 10
        then nullif(regexp_extract(d, '[T ]\d{1,2}(?::[\d:.,]+)? ?(UTC|GMT|[+-]\d{2}(?::?\d{2})?)$', 1), '')
    end;

-- A written zone as the offset a cast understands: +02:00.
create or replace temp macro zone_offset(zone) as case
    when zone is null or zone in ('Z', 'UTC', 'GMT') then '+00:00'
    when length(zone) = 3 then zone || ':00'
    when length(zone) = 5 then left(zone, 3) || ':' || right(zone, 2)
    else zone end;

-- First instant of a date of a form, given its text without the zone and with a blank for T.
create or replace temp macro date_first(form, stripped, zone) as try_cast(case form
    when 'second' then stripped || zone_offset(zone)
    when 'day' then stripped || ' 00:00:00+00:00'
    when 'minute' then stripped || ':00' || zone_offset(zone)
    when 'fraction' then left(stripped, strpos(stripped, '.') + 6) || zone_offset(zone)
    when 'year' then stripped || '-01-01 00:00:00+00:00'
    when 'month' then stripped || '-01 00:00:00+00:00'
    when 'hour' then stripped || ':00:00' || zone_offset(zone)
    end as timestamptz);

-- Instant at which the written precision ends (exclusive).
create or replace temp macro date_last(form, stripped, first_instant) as case form
    when 'second' then first_instant + interval 1 second
    when 'day' then first_instant + interval 1 day
    when 'minute' then first_instant + interval 1 minute
    when 'fraction' then first_instant + to_microseconds((10 ^ greatest(
        6 - (length(stripped) - strpos(stripped, '.')), 0))::bigint)
    when 'year' then first_instant + interval 1 year
    when 'month' then first_instant + interval 1 month
    when 'hour' then first_instant + interval 1 hour
    end;

-- A written date without its zone, with a blank for T and a point for a decimal comma.
create or replace temp macro date_stripped(d, zone) as
    replace(replace(rtrim(left(d, length(d) - length(coalesce(zone, '')))), 'T', ' '), ',', '.');

-- The right part of an interval written in full: ISO 8601 lets it leave out what it shares with the left one
-- (2007-11-13/15, 2007-11/12, 2007-11-13T10:00/12:30). `day_a` is the date part of the left one.
create or replace temp macro interval_end(day_a, b) as case
    when regexp_matches(b, '^\d{4}(-|$)') then b
    when regexp_matches(b, '^\d{1,2}:') then day_a || 'T' || b
    else left(day_a, greatest(length(day_a) - length(split_part(b, 'T', 1)), 0)) || b
    end;

-- Text that stands for "nothing" in a column of dates or positions, where no word can be a value. No `in`: with
-- as many words it becomes a join that every row goes through, also where a `case` asks for few.
create or replace temp macro says_nothing(t) as
    t is null or regexp_full_match(trim(t), '(|na|nan|null|none|n/a|\.|nat)', 'i');
