-- Rules of Darwin Core values. Temporary macros, loaded once per connection.

-- A value that was written: R and pandas write missing ones as NA, NaN or null. Not for names and country codes: NA is
-- Namibia. No `in`: with so many words it becomes a join that every row goes through, also where a `case` asks for few.
create or replace temp macro given(t) as
    case when strlen(t) < 5 and regexp_full_match(t, '(na|nan|null|none|n/a)', 'i') then null else t end;

create or replace temp macro given_number(t) as
    case when isfinite(try_cast(t as double)) and not contains(t, '_') then try_cast(t as double) end;

-- A written date: eventDate with eventTime where it has no time itself, else as far as year, month and day go.
create or replace temp macro written_date(d, t, y, m, dd) as case
    when t is null and given(d) is not null then d
    when given(d) is not null and regexp_full_match(d, '\d{4}-\d{1,2}-\d{1,2}')
        and regexp_full_match(given(t), '\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)? ?(Z|[+-]\d{2}(:?\d{2})?)?')
        then d || 'T' || case when strpos(t, ':') = 2 then '0' || t else t end
    when given(d) is not null then d
    when given(y) is null then null
    when given(m) is null or try_cast(m as integer) is null then regexp_replace(y, '\.0$', '')
    when given(dd) is null or try_cast(dd as integer) is null
        then regexp_replace(y, '\.0$', '') || '-' || lpad(try_cast(m as integer)::varchar, 2, '0')
    else regexp_replace(y, '\.0$', '') || '-' || lpad(try_cast(m as integer)::varchar, 2, '0')
        || '-' || lpad(try_cast(dd as integer)::varchar, 2, '0')
    end;

-- The unit that counts: one in brackets behind the name of the quantity wins over the column of units, which people
-- fill down (`Biomass_[mg dw/m3]` with `Number per m3`).
create or replace temp macro stated_unit(quantity, unit) as
    lower(coalesce(nullif(regexp_extract(quantity, '[\[(]([^\])]*)[\])]', 1), ''), unit, ''));

create or replace temp macro is_per_space(unit) as
    regexp_matches(unit, '(/|\bper\b)\s*[\d,.]*\s*(m|km|cm|dm|l|ml|ha|square|cubic|liter|litre|hectare|haul|tow|hour)')
    or regexp_matches(unit, '\b(m|l|ml|cm|km|dm)(\^|\*\*)?-[123]');

-- What a quantity of organisms is: 'count' may be summed over records, 'density' is per area, volume or effort. Null:
-- another quantity (biomass, cover, length), or not clear.
create or replace temp macro quantity_kind(quantity, unit, quantity_id) as case
    when regexp_matches(coalesce(quantity_id, ''), 'P01/current/SDBIOL0[12]') then 'density'
    when regexp_matches(coalesce(quantity_id, ''), 'P01/current/OCOUNT01') then 'count'
    when regexp_matches(lower(quantity), 'biomass|weight|volume|carbon|length|cover|size|area|percent|relative|categor|rank|class|scale|width|diameter|mass|biovolume|rate')
        then null
    when not regexp_matches(lower(quantity), 'abundance|\bcount|count\b|individual|\bnumber\b|number ?of|density|specimens|organisms')
        then null
    when is_per_space(stated_unit(quantity, unit))
        then case when regexp_matches(stated_unit(quantity, unit),
            '^\W*(#|n|no|no\.|nr|num|number|ind|inds|ind\.|indiv|individual|individuals|count|counts|specimen|specimens|organism|organisms|larvae|eggs|cells|cell|1)?(s|\.)?(\s+of\s+\w+)?\s*(/|\bper\b|(m|l|ml|cm|km|dm)(\^|\*\*)?-)')
            then 'density' end
    when regexp_full_match(stated_unit(quantity, unit),
        '(#|n|no\.?|number|ind\.?|inds|individual|individuals|count|counts|specimens?|organisms?)') then 'count'
    when stated_unit(quantity, unit) in ('', '1', 'dimensionless', 'unitless', 'none', 'na')
        and regexp_matches(lower(quantity), '\bcount|count\b|number ?of ?(individuals|specimens|organisms)|^individuals?$|^individual_?count$')
        then 'count'
    end;

create or replace temp macro is_absence(status) as
    case when lower(status) = 'present' then false else regexp_full_match(regexp_replace(lower(status), '[^a-z]', '', 'g'),
        'absent|absence|notdetected|ausente|nondetected|notobserved') end;

create or replace temp macro without_nulls(j) as nullif(json_merge_patch('{}'::json, j)::varchar, '{}');
