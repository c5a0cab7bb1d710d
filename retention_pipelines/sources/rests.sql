-- Rows of `known_rows` as ranges of row numbers, by the deliveries that brought the equal rows. Where the ledger has no
-- line of a content, its hash stands for one that never stands; of $1, the file's own, these are rows of other parts.
with delivery as (
    select sha256, coalesce(nullif(split_part(fingerprint, ':', 3), ''), left(fingerprint, 16)) as delivery
    from ledger_rows
    where status = 'ingested' and role = 'records'
),
rested as (
    select distinct k.source_row, coalesce(d.delivery, left(k.source_sha256, 16)) as delivery
    from known_rows k left join delivery d on k.source_sha256 = d.sha256
    where k.source_row is not null and (d.delivery is not null or k.source_sha256 <> $1)
),
run as (
    select delivery, source_row, source_row - row_number() over (partition by delivery order by source_row) as island
    from rested
),
ranges as (select delivery, min(source_row) as low, max(source_row) as high from run group by delivery, island)
select delivery, string_agg(case when low = high then low::varchar else low || '-' || high end, '+' order by low)
from ranges
group by delivery
order by delivery
