-- Event months with rows that were ingested since an instant.
select distinct month from occurrences where ingested_at >= getvariable('since')
union
select distinct month from observations where ingested_at >= getvariable('since')
