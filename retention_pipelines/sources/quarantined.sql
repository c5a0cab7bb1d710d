-- Rows of `tidy_rows` that cannot be used, with the raw row as JSON from the view `raw_rows`.
select c.record_hash, c.dataset_id, c.source_file, c.source_sha256, c.source_row, c.ingested_at, c.reason,
    coalesce(c.detail, c.reason) as detail, r.raw_record
from tidy_rows c join raw_rows r on c.source_row = r.source_row
where c.reason is not null and c.source_row not in (select source_row from duplicate_rows)
