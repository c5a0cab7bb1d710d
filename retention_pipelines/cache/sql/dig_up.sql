-- Put an entry back that a run took out and whose grace lasts, unless there is one again, or it was invalidated since it was
-- computed. The graveyard keeps its own until the grace is over, so that the run can still be taken back whole.
insert into public.ml_inference_cache ({columns})
select {columns}
from (
    select plan_sha256, position from public.tombstones join public.plans using (plan_sha256)
    where tenant = %(tenant)s and tombstones.dataset = 'inference_cache' and key_digest = %(digest)s
        and grace_until > statement_timestamp()
    order by removed_at desc
    limit 1
) as gone
cross join lateral (
    select * from public.graveyard_inference_cache as one
    where one.plan_sha256 = gone.plan_sha256 and one.position = gone.position
    offset 0
) as grave
where grave.tenant = %(tenant)s and grave.cache_key = %(key)s
    and not public.retention_is_outdated(jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(grave)))
    and not exists (
        select from public.ml_inference_cache as live where live.tenant = %(tenant)s and live.cache_key = %(key)s
    )
on conflict do nothing
