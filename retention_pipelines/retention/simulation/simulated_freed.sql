select count(*), coalesce(sum(simulated.size_bytes), 0.0)
from _sim_rows as simulated join _sim_decided as decided using (n)
