-- Staged rows with the hash of the raw row; a row that could not be read says so and nothing else.
select r.* exclude (reason, detail), h.record_hash,
    case when u.source_row is not null then 'unparseable_row' else r.reason end as reason,
    coalesce(u.detail, r.detail) as detail
from dwc_rows r
join dwc_hashes h using (source_row)
left join dwc_unreadable u using (source_row)
