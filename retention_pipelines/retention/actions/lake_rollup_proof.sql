-- Of the series, cells and days of which rows go: whether the rollup says the same of them, and was written after them.
-- Reads: _rollup_group, _rollup_series (with filename), _rollup_written. Variables: cell_deg, surface_limit_m.
create or replace temp table _rollup_proof as
with said as (
    select series.*, make_timestamp(epoch_us(window_start))::date as day, written.written_at
    from _rollup_series as series
    join _rollup_written as written using (filename)
    where cell_deg = getvariable('cell_deg') and surface_limit_m = getvariable('surface_limit_m')
),
longer as (
    -- A month must hold at least what its days hold.
    select month.source_type, month.dataset_id, month.variable, month.location_grid, month.day as first_day
    from said as month
    join said as daily using (source_type, dataset_id, variable, location_grid)
    where month.time_window = 'monthly' and month.layer = 'all' and daily.time_window = 'daily' and daily.layer = 'all'
        and date_trunc('month', daily.day) = month.day
    group by all
    having sum(daily.n) <= any_value(month.n)
)
select
    held.source_type, held.dataset_id, held.variable, held.location_grid, held.day, held.n_goes,
    case
        when held.n_goes < held.n then 'not all rows of their cell and day may go'
        when whole.n is null then 'the rollup has no row for them'
        when whole.n <> held.n or coalesce(surface.n, 0) <> held.n_surface
            then 'the rollup counts others'
        when abs(whole.mean * whole.n - held.total) > 1e-9 * greatest(held.size, 1e-300)
            or abs(coalesce(surface.mean * surface.n, 0) - coalesce(held.total_surface, 0))
                > 1e-9 * greatest(held.size, 1e-300)
            or whole.min <> held.smallest or whole.max <> held.largest
            then 'the rollup sums up to something else'
        when whole.written_at < held.written_last then 'the rollup is older than they are'
        when longer.first_day is null then 'the rollup of their month lacks them'
    end as doubt
from _rollup_group as held
left join said as whole
    on whole.time_window = 'daily' and whole.layer = 'all' and whole.source_type = held.source_type
    and whole.dataset_id = held.dataset_id and whole.variable = held.variable
    and whole.location_grid = held.location_grid and whole.day = held.day
left join said as surface
    on surface.time_window = 'daily' and surface.layer = 'surface' and surface.source_type = held.source_type
    and surface.dataset_id = held.dataset_id and surface.variable = held.variable
    and surface.location_grid = held.location_grid and surface.day = held.day
left join longer
    on longer.source_type = held.source_type and longer.dataset_id = held.dataset_id
    and longer.variable = held.variable and longer.location_grid = held.location_grid
    and longer.first_day = date_trunc('month', held.day)::date
