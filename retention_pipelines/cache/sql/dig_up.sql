-- Put an entry back that a run took out, unless there is one again, or it was invalidated since it was computed. The
-- graveyard keeps its own until the grace is over, so that the run can still be taken back whole.
insert into public.ml_inference_cache
select dug.*
from (
    select plan_sha256, position from public.tombstones
    where tenant = %(tenant)s and dataset = 'inference_cache' and key_digest = %(digest)s
    order by removed_at desc
    limit 1
) as gone
cross join lateral (
    select * from public.graveyard_inference_cache as one
    where one.plan_sha256 = gone.plan_sha256 and one.position = gone.position
    offset 0
) as grave
cross join lateral jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(grave)) as dug
where grave.tenant = %(tenant)s and grave.cache_key = %(key)s and not public.retention_is_outdated(dug)
    and not exists (
        select from public.ml_inference_cache as live where live.tenant = %(tenant)s and live.cache_key = %(key)s
    )
on conflict do nothing
