-- Names as they are compared; the same as `sources/erased.py` does.
create or replace temp macro as_name(written) as replace(lower(regexp_replace(
    nfc_normalize(written), '^[\s\v\x1c-\x1f\x{85}\pZ]+|[\s\v\x1c-\x1f\x{85}\pZ]+$', '', 'g')), 'ς', 'σ');
create or replace temp macro names_in(texts) as
    [as_name(part) for part in flatten([string_split_regex(coalesce(one, ''), '[|;]') for one in texts])];
create or replace temp macro people_in(properties) as case
    when json_valid(properties) then names_in(json_extract_string(properties, [
        '$.recordedBy', '$.recordedByID', '$.identifiedBy', '$.identifiedByID', '$.georeferencedBy',
        '$.measurementDeterminedBy', '$.rightsHolder', '$.institutionCode'
    ]))
    else [] end;
create or replace temp macro values_in(record) as case
    when json_valid(record) then json_extract_string(record, '$.*') else [record] end;
create or replace temp macro is_mention(written) as
    coalesce(regexp_matches(written, getvariable('erased_pattern'), 'i'), false);
-- Twice: of two mentions with one sign between them the first takes the sign.
create or replace temp macro without_mention(written) as regexp_replace(
    regexp_replace(written, getvariable('erased_pattern'), '\1[erased]\2', 'gi'),
    getvariable('erased_pattern'), '\1[erased]\2', 'gi');
create temp table if not exists erased_held (source_data_id varchar);
create temp table if not exists erased_study (source_data_id varchar);
