-- What there is under a key, as `get.sql` has it, and after that what a run took out of it whose grace lasts: by the digest
-- that the run left ($4), which says where in the graveyard it lies. What was invalidated since it was computed stays there.
-- `offset 0` keeps the planner, who knows an empty graveyard, from reading a full one whole.
select payload, payload_codec, payload_mac, computed_at, expires_at, statement_timestamp() as now, compute_seconds,
    false as is_buried
from public.ml_inference_cache
where tenant = $1 and cache_key = $2 and expires_on >= current_date - $3
union all
select grave.payload, grave.payload_codec, grave.payload_mac, grave.computed_at, grave.expires_at, statement_timestamp(),
    grave.compute_seconds, true
from (
    select plan_sha256, position from public.tombstones join public.plans using (plan_sha256)
    where tenant = $1 and tombstones.dataset = 'inference_cache' and key_digest = $4
        and grace_until > statement_timestamp()
    order by removed_at desc
    limit 1
) as gone
cross join lateral (
    select * from public.graveyard_inference_cache as one
    where one.plan_sha256 = gone.plan_sha256 and one.position = gone.position
    offset 0
) as grave
cross join lateral jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(grave)) as dug
where grave.tenant = $1 and grave.cache_key = $2 and not public.retention_is_outdated(dug)
