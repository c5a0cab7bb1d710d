-- Rows of `tidy_rows` that cannot be used, with the raw row as JSON from the view `raw_rows`.
select t.record_hash, t.dataset_id, t.source_file, t.source_sha256, t.source_row, t.ingested_at, t.reason,
    coalesce(t.detail, t.reason) as detail,
    -- Of what was erased by order, nothing may come back this way.
    case when t.reason = 'erased' then '{}' else r.raw_record end as raw_record
from tidy_rows t join raw_rows r on t.source_row = r.source_row
where t.reason is not null
