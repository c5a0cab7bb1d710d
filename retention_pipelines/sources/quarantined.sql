-- Rows of `checked_rows` that cannot be used, with the raw row as JSON from the view `raw_rows`.
select c.record_hash, getvariable('dataset_id') as dataset_id, getvariable('source_file') as source_file,
    getvariable('source_sha256') as source_sha256, c.source_row, getvariable('now')::timestamptz as ingested_at,
    c.reason, coalesce(c.detail, c.reason) as detail, r.raw_record
from checked_rows c join raw_rows r on c.source_row = r.source_row
where c.reason is not null and c.source_row not in (select source_row from duplicate_rows)
