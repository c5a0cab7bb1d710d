-- Lines of deliveries that were taken, taken apart. Input: ledger_rows; $1: only of these identities, or null for all.
-- `rests_on` has the deliveries whose rows its duplicates equal; a line of before that was kept, which counted
-- duplicates, rests on one that never stands.
create or replace temp table ledger_lines as
select split_part(fingerprint, ':', 1) as identity,
    split_part(fingerprint, ':', 2) as look,
    coalesce(nullif(split_part(fingerprint, ':', 3), ''), left(fingerprint, 16)) as delivery,
    split_part(fingerprint, ':', 4) as rests,
    case when status = 'duplicate' then []
        when rests <> '' then list_distinct(list_transform(string_split(rests, ','), lambda rest: left(rest, 16)))
        when split_part(fingerprint, ':', 3) = '' and duplicates > 0 and role = 'records' then ['before']
        else [] end as rests_on,
    status, path, sha256, ingested_at, "read", dataset_id, licence, bibliographic_citation, notes
from ledger_rows
where status in ('ingested', 'duplicate') and fingerprint is not null
    and ($1 is null or split_part(fingerprint, ':', 1) in (select unnest($1::varchar[])))
