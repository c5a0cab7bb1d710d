-- Deliveries that were taken and stand in the ledger, by their look. Input: ledger_rows; $1: SHA-256 of their contents.
with line as (
    select split_part(fingerprint, ':', 1) as identity, split_part(fingerprint, ':', 2) as look, *
    from ledger_rows where status in ('ingested', 'duplicate') and sha256 in (select unnest($1::varchar[]))
)
select look, any_value(fingerprint), any_value("read"), any_value(dataset_id), any_value(licence),
    any_value(bibliographic_citation), any_value(notes)
from line
where look != '' and identity in (select identity from line where status = 'ingested')
group by look
