-- Rows of ERDDAP text as staged observations. The vertical position is a depth, a height (positive up) or a pressure;
-- depths of pressures are in `erddap_depths`.
with positioned as (
    select *,
        measured_number(depth) * getvariable('depth_scale') as given_depth,
        -measured_number(height) * getvariable('height_scale') as given_height,
        measured_number(pressure) as given_pressure
    from erddap_rows
)
select r.source_row, r.record_hash,
    case when getvariable('monthly') then left(r.event_date, 7) else r.event_date end as event_date,
    r.decimal_latitude, r.decimal_longitude, r.platform_id,
    -- A number counts within its platform.
    case when r.event is null then null
        when r.platform_id is not null and regexp_full_match(r.event, '\d+(\.0+)?')
            then r.platform_id || '_' || regexp_replace(r.event, '\.0+$', '')
                || case when r.direction = 'D' then 'D' else '' end
        else r.event
    end as event_id,
    case when getvariable('at_surface') then 0.0::double else coalesce(r.given_depth, r.given_height, d.depth_m) end as depth_m,
    r.given_pressure as pressure_dbar,
    measured_values(r.every) as measurements,
    licence_of(r.licence) as licence, r.bibliographic_citation,
    nullif(json_merge_patch('{}'::json, r.rest, coalesce(r.broken, '{}'::json))::varchar, '{}') as dynamic_properties,
    case when r.broken is not null then ['INVALID_MEASUREMENT'] end as flags,
    case when u.source_row is not null then 'unparseable_row' end as reason,
    u.detail
from positioned r
left join erddap_unreadable u using (source_row)
left join erddap_depths d using (source_row)
