-- Observations that a match-up of a batch of studies may use, with the instant from which each was known: its start for
-- dates to the day or better, the end of the interval for coarser ones (a monthly mean is known when the month is over).
-- Intervals longer than a month say nothing about conditions near a study. Whole degrees that no study reaches are left
-- out, so that a grid of the whole ocean is never loaded.
-- Inputs: _window_observations, _reached (lat_degree, lon_degree); variables earliest, latest, quantities.
select variable, epoch_us(known_at) as microseconds, decimal_latitude as latitude, decimal_longitude as longitude,
       coalesce(depth_m, pressure_dbar) as depth_m, value, qc_good as good
from (
    select *, case when date_precision in ('day', 'time') then event_start else event_end end as known_at,
           floor(decimal_latitude)::integer as lat_degree, (floor(decimal_longitude)::integer + 180) % 360 - 180 as lon_degree
    from _window_observations
)
semi join _reached using (lat_degree, lon_degree)
where variable in (select unnest(getvariable('quantities')::varchar[]))
  and isfinite(value)
  and event_end <= event_start + interval 31 days
  and known_at between getvariable('earliest') and getvariable('latest')
