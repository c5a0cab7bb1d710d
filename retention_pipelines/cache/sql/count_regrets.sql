-- Of entries that were asked for in vain, those that retention had removed: one regret for each removal.
insert into public.regrets (tenant, dataset, key_digest, removed_at, requested_at, policy_id, recompute_seconds)
select distinct on (gone.dataset, gone.key_digest)
    gone.tenant, gone.dataset, gone.key_digest, gone.removed_at, clock_timestamp(), gone.policy_id, missed.seconds
from unnest(%(datasets)s::text[], %(digests)s::bytea[], %(seconds)s::float8[]) as missed (dataset, key_digest, seconds)
join public.tombstones as gone
    on gone.tenant = %(tenant)s and gone.dataset = missed.dataset and gone.key_digest = missed.key_digest
where not exists (
    select from public.regrets as known
    where known.tenant = gone.tenant and known.dataset = gone.dataset and known.key_digest = gone.key_digest
        and known.removed_at = gone.removed_at
)
order by gone.dataset, gone.key_digest, gone.removed_at desc
