-- What there is under a key, as `get.sql` has it, and after that what a run took out of it whose grace lasts: by the digest
-- that the run left, which says where in the graveyard it lies. What was invalidated since it was computed stays there.
select payload, payload_codec, payload_mac, computed_at, expires_at, statement_timestamp() as now, compute_seconds,
    false as is_buried
from public.ml_inference_cache
where tenant = %(tenant)s and cache_key = %(key)s and expires_on >= current_date - %(days)s::int
union all
select grave.payload, grave.payload_codec, grave.payload_mac, grave.computed_at, grave.expires_at, statement_timestamp(),
    grave.compute_seconds, true
from public.tombstones as gone
join public.graveyard_inference_cache as grave on grave.plan_sha256 = gone.plan_sha256 and grave.position = gone.position
cross join lateral jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(grave)) as dug
where gone.tenant = %(tenant)s and gone.dataset = 'inference_cache' and gone.key_digest = %(digest)s
    and grave.tenant = %(tenant)s and grave.cache_key = %(key)s
    and not public.retention_is_outdated(dug)
