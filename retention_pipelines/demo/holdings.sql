-- Delivered files that rows were taken from, simulated ones and the others; variable prefix marks simulated file names.
with names as (
    select distinct path, starts_with(parse_filename(path), getvariable('prefix')) as is_simulated
    from delivered
    where status = 'ingested' and role = 'records'
)
select count(*) filter (is_simulated) as simulated, count(*) filter (not is_simulated) as real from names
