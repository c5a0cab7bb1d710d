-- They live from then on, as long as they did.
update _sim_rows as simulated set
    gone = false,
    over = false,
    expires_at = simulated.expires_at + (returns.asked_at - simulated.computed_at),
    computed_at = returns.asked_at
from _sim_returns as returns
where simulated.n = returns.n
