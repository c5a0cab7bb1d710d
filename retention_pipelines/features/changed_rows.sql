-- Staged rows whose content is not that of the latest version, as the next version.
-- Inputs: _pending, _latest; variables computed_at, code_version.
create or replace temp table _changed as
with versioned as (
    select _pending.*, _latest.version as stored_version, _latest.feature_hash as stored_hash, _latest.place as stored_place
    from _pending left join _latest using (feature_id)
)
select * exclude (stored_version, stored_hash, stored_place)
    replace (
        md5(feature_hash || '/' || (coalesce(stored_version, 0) + 1)) as feature_hash,
        (coalesce(stored_version, 0) + 1)::integer as version,
        coalesce(stored_place <> (event_time, known_at, location_grid), false) as moved,
        getvariable('computed_at') as computed_at,
        getvariable('code_version') as code_version
    )
from versioned
where stored_hash is null or stored_hash <> md5(feature_hash || '/' || stored_version);
