-- What standing lines with an identity rest on, and all that stands no more. $1: the identity. Of a line of before that
-- was kept, nobody knows.
select rests, (select coalesce(list(other), []) from gone_deliveries)
from ledger_lines
where identity = $1 and status = 'ingested' and rests_on <> ['before']
