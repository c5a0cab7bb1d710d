-- Rows of NDBC text as staged observations, at the surface. Hours are UTC; a year of two digits is of the last century.
select r.source_row, r.record_hash,
    case when length(r.yy) <= 2 then (1900 + try_cast(r.yy as integer))::varchar else r.yy end
        || '-' || lpad(r.month_number, 2, '0') || '-' || lpad(r.dd, 2, '0')
        || 'T' || lpad(r.hh, 2, '0') || ':' || lpad(coalesce(r.minute, '00'), 2, '0') || 'Z' as event_date,
    getvariable('latitude')::double as decimal_latitude,
    getvariable('longitude')::double as decimal_longitude,
    getvariable('station') as platform_id,
    0.0::double as depth_m,
    measured_values(r.every) as measurements,
    case when r.broken is not null then ['INVALID_MEASUREMENT'] end as flags,
    r.broken as dynamic_properties,
    case when u.source_row is not null then 'unparseable_row' end as reason,
    u.detail
from ndbc_rows r
left join ndbc_unreadable u using (source_row)
