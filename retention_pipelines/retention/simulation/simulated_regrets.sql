-- How many returned, how many of them the policy had taken, and what computing those again cost.
select
    count(*),
    count(*) filter (where not over),
    coalesce(sum(compute_seconds) filter (where not over), 0.0),
    count(*) filter (where not over and compute_seconds is null)
from _sim_returns
