-- Share of days whose cell mean of surface temperature is at least k climatological standard deviations below the
-- climatology of the day's month. A window is null unless every one of its days can be judged.
-- Reads: daily_window, monthly_mean. Variable: k.
with climatology as (
    select dataset_id, location_grid, cell_deg, month, favg(mean) as climatology, stddev_samp(mean) as spread
    from monthly_mean
    where variable = 'temperature_degc' and layer = 'surface'
    group by dataset_id, location_grid, cell_deg, month
),
day as (
    select dataset_id, location_grid, cell_deg, any_value(center_lat) as center_lat, any_value(center_lon) as center_lon,
        make_timestamp(epoch_us(window_start)) as day, fsum(n * mean) / sum(n) as mean
    from daily_window
    where variable = 'temperature_degc' and layer = 'surface'
    group by dataset_id, location_grid, cell_deg, window_start
),
judged as (
    select d.*, d.mean <= c.climatology - getvariable('k') * c.spread as is_upwelling
    from day as d
    left join climatology as c
        on c.dataset_id = d.dataset_id and c.location_grid = d.location_grid and c.cell_deg = d.cell_deg
        and c.month = month(d.day)
)
select
    dataset_id, location_grid, cell_deg, any_value(center_lat) as center_lat, any_value(center_lon) as center_lon,
    time_window,
    window_label(window_start(day, time_window), time_window) as window_label,
    make_timestamptz(epoch_us(window_start(day, time_window))) as window_start,
    make_timestamptz(epoch_us(window_end(window_start(day, time_window), time_window))) as window_end,
    count(*) as n_days,
    if(bool_and(is_upwelling is not null), count(*) filter (is_upwelling), null) as n_upwelling_days,
    if(bool_and(is_upwelling is not null), count(*) filter (is_upwelling) / count(*), null) as upwelling_frequency,
    getvariable('k') as k
from judged
cross join (select unnest(['weekly', 'monthly', 'seasonal']) as time_window)
where window_start(day, time_window) >= timestamp '0001-01-01'
group by dataset_id, location_grid, cell_deg, time_window, window_start(day, time_window)
