-- Accepted rows of `checked_rows` as observations, one per measurement; duplicates are in `duplicate_rows`.
select * exclude (reason, detail, measurements, measured), measured.*,
    getvariable('dataset_id')::dataset_name as dataset_id, getvariable('source_file')::source_file_name as source_file,
    getvariable('source_sha256')::source_digest as source_sha256, getvariable('now')::timestamptz as ingested_at
from (
    select *, unnest(measurements) as measured
    from checked_rows
    where reason is null and source_row not in (select source_row from duplicate_rows)
)
