-- The rows as they are: numbered, none gone, with how many of their reads were logged.
create or replace temp table _sim_base as
select
    row_number() over () as n,
    found.*,
    coalesce(logged.hits, 0) as logged_hits,
    false as gone,
    false as over
from _sim_found as found
left join (select key, sum(hits) as hits from _sim_log group by key) as logged using (key)
