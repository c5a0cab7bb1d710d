-- Deliveries that were taken and stand whole in the ledger, by their look. $1: SHA-256 of their contents.
select look, identity || ':' || look, any_value("read"), any_value(dataset_id), any_value(licence),
    any_value(bibliographic_citation), any_value(notes)
from ledger_lines
where sha256 in (select unnest($1::varchar[])) and look <> '' and identity in (select identity from whole_lines)
group by identity, look
