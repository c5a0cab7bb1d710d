-- Put an entry back that a run took out, unless there is one again, or it was invalidated since it was computed. The
-- graveyard keeps its own until the grace is over, so that the run can still be taken back whole.
insert into public.ml_inference_cache
select dug.*
from public.tombstones as gone
join public.graveyard_inference_cache as grave on grave.plan_sha256 = gone.plan_sha256 and grave.position = gone.position
cross join lateral jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(grave)) as dug
where gone.tenant = %(tenant)s and gone.dataset = 'inference_cache' and gone.key_digest = %(digest)s
    and grave.tenant = %(tenant)s and grave.cache_key = %(key)s
    and not public.retention_is_outdated(dug)
    and not exists (
        select from public.ml_inference_cache as live where live.tenant = %(tenant)s and live.cache_key = %(key)s
    )
order by gone.removed_at desc
limit 1
on conflict do nothing
