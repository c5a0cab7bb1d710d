-- What `ledger_lines` rest on and stands no more. Input: ledger_rows.
create or replace temp table gone_deliveries as
select other
from (select distinct unnest(rests_on) as other from ledger_lines)
where other not in (
    select coalesce(nullif(split_part(fingerprint, ':', 3), ''), left(fingerprint, 16))
    from ledger_rows
    where status = 'ingested' and fingerprint is not null
);

create or replace temp view whole_lines as
select identity
from ledger_lines
where status = 'ingested' and delivery not in (
    select delivery
    from (select delivery, unnest(rests_on) as other from ledger_lines)
    where other in (select other from gone_deliveries)
)
