-- Temporal features of the loaded studies.
-- Inputs: _study, _study_region (source_data_id, climate_region, wet_months, dry_months, upwelling_months).
with dated as (
    select *,
           date_precision in ('day', 'time') or (date_precision = 'interval' and event_end <= event_time + interval 1 day)
               as has_day,
           -- A month is known where the whole interval lies in one.
           date_trunc('month', event_time) = date_trunc('month', event_end - interval 1 microsecond) as has_month,
           date_trunc('year', event_time) = date_trunc('year', event_end - interval 1 microsecond) as has_year,
           window_start(event_time, 'seasonal') = window_start(event_end - interval 1 microsecond, 'seasonal') as has_season
    from _study left join _study_region using (source_data_id)
),
named as (
    select *,
           case when has_month then month(event_time) end as m,
           case when has_day then dayofyear(event_time) end as d,
           dayofyear(make_date(year(event_time)::int, 12, 31)) as days_in_year,
           case when date_precision = 'time' then (epoch(event_time) % 86400) / 86400.0 end as day_fraction
    from dated
)
select source_data_id,
       case when has_year then year(event_time) end::integer as year,
       m::integer as month_of_year,
       d::integer as day_of_year,
       case when has_season then season_name(month(event_time)) end as season,
       round(sin(2 * pi() * (d - 1) / days_in_year), 9) + 0.0 as day_of_year_sin,
       round(cos(2 * pi() * (d - 1) / days_in_year), 9) + 0.0 as day_of_year_cos,
       round(sin(2 * pi() * (m - 1) / 12), 9) + 0.0 as month_sin,
       round(cos(2 * pi() * (m - 1) / 12), 9) + 0.0 as month_cos,
       round(sin(2 * pi() * day_fraction), 9) + 0.0 as hour_sin,
       round(cos(2 * pi() * day_fraction), 9) + 0.0 as hour_cos,
       case when longest_interval_seconds > 0 and date_precision = 'interval' then epoch(event_end) - epoch(event_time)
            when last_start > event_time then epoch(last_start) - epoch(event_time) end::double as duration_seconds,
       case when latitude < 0 then 'south' else 'north' end as hemisphere,
       climate_region,
       case when list_contains(wet_months, m) then 'wet' when list_contains(dry_months, m) then 'dry' end
           as precipitation_season,
       -- Null where the region names no upwelling season, and where the month is not known.
       case when len(upwelling_months) > 0 and m is not null then list_contains(upwelling_months, m) end
           as is_upwelling_season
from named
order by source_data_id;
