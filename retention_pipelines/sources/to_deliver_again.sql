-- Paths of deliveries of which no coming is whole.
select path
from ledger_lines
where status = 'ingested' and identity not in (select identity from whole_lines)
group by path
order by min(ingested_at), path
