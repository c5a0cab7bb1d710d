-- Rules of measurements in text files. Temporary macros, loaded once per connection.

-- A number as written; null where it is missing or no number.
create or replace temp macro measured_number(t) as
    case when isfinite(try_cast(t as double)) and not contains(t, '_') then try_cast(t as double) end;

-- Whether a text is there, stands for a value and is no number. A pattern, and looked at only where there is no number:
-- as many words behind `in` become a join that every row goes through.
create or replace temp macro is_no_number(t) as
    case when t is null or measured_number(t) is not null then false
        else not regexp_full_match(trim(t), '(|na|nan|null|none|n/a|\.|mm|-?inf)', 'i') end;

-- A flag as written, without the decimals that programs add to whole numbers, and without missing ones.
create or replace temp macro measured_flag(t) as
    nullif(nullif(regexp_replace(trim(t), '\.0+$', ''), ''), 'NaN');

-- Good flags of a scale, as docs/definitions.md states them. No flag where a column of flags exists is not good.
create or replace temp macro flag_is_good(flag, qc_scale) as case qc_scale
    when 'none' then true
    when 'argo' then coalesce(flag in ('1', '2', '5', '8'), false)
    when 'qartod' then coalesce(flag = '1', false)
    when 'wod' then coalesce(flag = '0', false)
    end;

-- The adjusted text where adjusted ones count, the raw one elsewhere.
create or replace temp macro adjusted_or_raw(adjusted, adjusted_text, raw_text) as
    case when adjusted then adjusted_text else raw_text end;

-- One measurement. `adjusted` says whether the adjusted value and its flag count; raw ones are kept beside.
create or replace temp macro measured_value(
    variable_name, cf_name, scale, shift, qc_scale, raw_text, raw_flag, adjusted_text, adjusted_flag, adjusted, row_good
) as {
    'variable': variable_name,
    'standard_name': cf_name,
    'value': measured_number(case when adjusted then adjusted_text else raw_text end) * scale + shift,
    'value_kind': case when adjusted then 'adjusted' else 'raw' end,
    'raw_value': case when adjusted then measured_number(raw_text) * scale + shift end,
    'qc_flag': measured_flag(case when adjusted then adjusted_flag else raw_flag end),
    'raw_qc_flag': case when adjusted then measured_flag(raw_flag) end,
    'qc_scale': qc_scale,
    'qc_good': row_good
        and measured_number(case when adjusted then adjusted_text else raw_text end) is not null
        and flag_is_good(measured_flag(case when adjusted then adjusted_flag else raw_flag end), qc_scale)
};

-- Measurements without those that are neither there nor flagged.
create or replace temp macro measured_values(every) as list_filter(every, lambda one:
    one.value is not null or one.raw_value is not null or one.qc_flag is not null or one.raw_qc_flag is not null);

-- A number of NDBC text; MM and the column's own number of nines mean missing.
create or replace temp macro ndbc_text(t, missing) as
    case when t = 'MM' or try_cast(t as double) = missing then null else t end;
