-- By what the rows that a commit took out are asked for, each with the policy that let it go and its age in seconds.
-- Variables: as_of, policy, version: of the only policy of the plan, where it has one.
select before.read_key,
    coalesce(getvariable('policy'), any_value(named.policy_id)) as policy_id,
    coalesce(getvariable('version'), any_value(named.policy_version)) as policy_version,
    date_diff('second', max(before.computed_at), getvariable('as_of'))::double as age_seconds
from _retention_keys_before as before
anti join _retention_keys_after as after using (row_id)
left join _retention_plan_rows as named on named.row_id = before.row_id
where before.read_key is not null
group by before.read_key
