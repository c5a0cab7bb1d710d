-- Counts that do not add up: within the ledger, and between the ledger and the tables with their archives (per file
-- content).
with ledger as (
    select sha256, sum(quarantined) as quarantined, sum("values") as written
    from ingested_files
    where status = 'ingested' and role = 'records'
    group by sha256
),
written as (
    select source_sha256 as sha256, count(*) as n
    from (
        select source_sha256 from occurrences
        union all select source_sha256 from observations
        union all select source_sha256 from archived_occurrences
        union all select source_sha256 from archived_observations
    )
    group by source_sha256
),
kept_aside as (
    select source_sha256 as sha256, count(*) as n
    from (select source_sha256 from quarantine union all select source_sha256 from archived_quarantine)
    group by source_sha256
)
select 'read = accepted + quarantined + duplicates' as what, path as subject, "read" as ledger,
    accepted + quarantined + duplicates as found
from ingested_files
where "read" <> accepted + quarantined + duplicates
union all
select 'rows written', coalesce(ledger.sha256, written.sha256), coalesce(ledger.written, 0), coalesce(written.n, 0)
from ledger full join written using (sha256)
where coalesce(ledger.written, 0) <> coalesce(written.n, 0)
union all
select 'rows in quarantine', coalesce(ledger.sha256, kept_aside.sha256), coalesce(ledger.quarantined, 0),
    coalesce(kept_aside.n, 0)
from ledger full join kept_aside using (sha256)
where coalesce(ledger.quarantined, 0) <> coalesce(kept_aside.n, 0)
order by all
