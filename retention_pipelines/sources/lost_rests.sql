-- What standing lines with an identity rest on, and which of that stands no more. $1: the identity. Of a line of before
-- that was kept, nobody knows.
with line as (
    select rests, rests_on from ledger_lines where identity = $1 and status = 'ingested' and rests_on <> ['before']
),
gone as (
    select list(other) as others
    from (select distinct unnest(rests_on) as other from line)
    where other not in (select delivery from ledger_lines where status = 'ingested')
)
select rests, coalesce(others, []) from line, gone
