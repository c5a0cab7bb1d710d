-- DuckDB: which settled versions the lake holds.
-- Inputs: _settled (tenant, cache_key, computed_at, place), _cached.
select distinct place
from _settled semi join _cached using (tenant, cache_key, computed_at)
