update _sim_rows as simulated set gone = true, over = coalesce(decided.own_end, false)
from _sim_decided as decided
where simulated.n = decided.n
