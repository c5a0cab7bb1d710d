-- What an observation needs, in bare statements: rows numbered and hashed as text, dates, positions and numbers parsed and
-- checked, equal rows found. Variable: path. The file and its columns are those of bench_ingest.py.
create table raw as
select row_number() over () as source_row, *
from read_csv(getvariable('path'), all_varchar = true, header = true, delim = ',', quote = '"');

create type calendar_day as enum (select distinct date from raw order by date);
create type calendar_month as enum (select distinct date[:7] from raw order by all);
create table day as
select date, date::calendar_day as event_date, date[:7]::calendar_month as month,
    (date || ' 00:00:00+00')::timestamptz as event_start,
    (date || ' 00:00:00+00')::timestamptz + interval 1 day as event_end,
    'day'::enum('day') as date_precision
from (select distinct date from raw);

create table checked as
with number_of as (
    select source_row, md5(concat_ws(chr(31), 'bench', chl, date, depth, lat, lon, sal, temp)) as record_hash,
        concat(date, '_', lat, '_', lon) as event_id, date,
        try_cast(lat as double) as latitude, try_cast(lon as double) as longitude, try_cast(depth as double) as depth_m,
        try_cast(temp as double) as temperature, try_cast(sal as double) as salinity, try_cast(chl as double) as chlorophyll
    from raw
)
select n.* exclude (date), d.* exclude (date)
from number_of as n left join day as d using (date)
where isfinite(latitude) and isfinite(longitude) and latitude between -90 and 90 and longitude between -180 and 360
    and not (latitude = 0 and longitude = 0) and event_end > event_start;

create table twin as
select record_hash from checked group by record_hash having count(*) > 1;
