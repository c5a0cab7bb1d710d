-- A version becomes the current one of its model; going back to an earlier one is registering it again.
with former as (
    update public.models
    set state = 'retired', retired_at = greatest(statement_timestamp(), registered_at)
    where model_id = %(model_id)s and model_version <> %(version)s and state = 'live' and %(retire_former)s
)
insert into public.models as known
    (model_id, model_version, artifact_sha256, details, reproducibility_seconds, activated_at)
values
    (%(model_id)s, %(version)s, %(artifact_sha256)s, %(details)s, %(reproducibility_seconds)s, clock_timestamp())
on conflict (model_id, model_version) do update set
    artifact_sha256 = excluded.artifact_sha256,
    details = known.details || excluded.details,
    reproducibility_seconds = excluded.reproducibility_seconds,
    activated_at = excluded.activated_at,
    state = 'live',
    retired_at = null
