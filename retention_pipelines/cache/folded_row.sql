-- DuckDB: the newest row of a key.
-- Inputs: _cached; variables tenant, cache_key.
select *
from _cached
where cache_key = getvariable('cache_key') and tenant = getvariable('tenant')
order by computed_at desc
limit 1
