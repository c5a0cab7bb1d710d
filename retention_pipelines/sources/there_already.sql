-- Files that brought values of the same events and variables as the new rows of `checked_rows`, how many events, and what
-- their delivery's commits are called. Inputs: lake_rows, ledger_rows; $1: SHA-256 of the file the new rows are of.
with new as (
    select distinct event_id, variable::varchar as variable
    from (select event_id, unnest(measurements).variable as variable from checked_rows where reason is null)
),
old as (
    select e.source_file, e.source_sha256, count(distinct e.event_id) as events
    from lake_rows e join new n on e.event_id = n.event_id and e.variable = n.variable
    where e.dataset_id = getvariable('dataset_id') and e.source_sha256 <> $1
    group by all
)
select source_file, events, (
        select any_value(split_part(fingerprint, ':', 1))
        from ledger_rows l
        where l.sha256 = old.source_sha256 and l.status = 'ingested'
    )
from old
order by events desc, source_file
