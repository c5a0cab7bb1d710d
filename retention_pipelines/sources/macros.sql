-- Small rules of ingestion, used by the statements and readers of this package. Temporary, loaded once per connection.

-- A text as a number; null where it is none. Infinity and NaN are no numbers, and 1_0 is not 10 as a cast has it.
create or replace temp macro as_number(t) as
    case when isfinite(try_cast(t as double)) and not contains(t, '_') then try_cast(t as double) end;

-- A text without blanks at its ends. Few have any, or a character that may be a blank beyond ASCII (a no-break space):
-- looking for them costs less than trimming all.
create or replace temp macro trimmed(t) as
    case when contains(t, ' ') or strlen(t) != length(t) then trim(t) else t end;

-- A number as text without the zeros that end its decimals.
create or replace temp macro without_zeros(t) as
    case when contains(t, '.') then regexp_replace(regexp_replace(t, '(\.\d*?)0+$', '\1'), '\.$', '') else t end;

-- Month `YYYY-MM` of a decimal year: 1991.0833 is February 1991.
create or replace temp macro month_of_decimal_year(t) as
    case when try_cast(t as double) between 1 and 9998 then
        printf('%04d-%02d', floor(round(try_cast(t as double) * 12 + 0.0001) / 12)::integer,
               (round(try_cast(t as double) * 12 + 0.0001) % 12)::integer + 1) end;

-- The measurements of a row that have a value or a flag.
create or replace temp macro present_measurements(list_of) as
    list_filter(list_of, lambda m: m.value is not null or m.qc_flag is not null);
