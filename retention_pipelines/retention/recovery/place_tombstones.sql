-- A tombstone for each of these removed entries.
insert into tombstones (
    tenant, dataset, key_digest, removed_at, policy_id, policy_version, plan_sha256, age_seconds, compute_seconds,
    size_bytes, position
)
select
    tenant, %(dataset)s, key_digest, now(), policy_id, policy_version, %(plan)s, age_seconds, compute_seconds,
    size_bytes, position
from unnest(
    %(tenant)s::text[], %(key_digest)s::bytea[], %(policy_id)s::text[], %(policy_version)s::integer[],
    %(age_seconds)s::double precision[], %(compute_seconds)s::double precision[], %(size_bytes)s::bigint[],
    %(position)s::bigint[]
) as removed (
    tenant, key_digest, policy_id, policy_version, age_seconds, compute_seconds, size_bytes, position
)
on conflict do nothing
