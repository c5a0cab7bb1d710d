-- The rows a point-in-time read at any later instant finds, one per study: of the versions after the last correction that
-- moved the study, the one with the latest event_time, then computed_at, then version.
-- Inputs: _stored_type (all files of a feature type), _versions (of the same files what tells which version stands),
-- _wanted (source_data_id); variable only_wanted.
with versions as (
    select source_data_id, feature_hash, event_time, computed_at, version, moved
    from _versions
    where not getvariable('only_wanted') or source_data_id in (select source_data_id from _wanted)
),
standing as (
    select *, max(version) filter (moved) over (partition by source_data_id) as moved_at
    from versions
),
newest as (
    select feature_hash
    from standing
    where moved_at is null or version >= moved_at
    qualify row_number() over (
        partition by source_data_id order by event_time desc, computed_at desc, version desc
    ) = 1
)
select * from _stored_type semi join newest using (feature_hash)
