-- Write the rollups of these raw measurements, by hour and by day, on top of those whose raw rows are gone. Sums are
-- exact: the doubles are added as decimals, in whatever order.
with fresh as (
    select
        raw.metric, windows.resolution, raw.labels, windows.window_start,
        count(*) as n, sum(raw.value::text::numeric) as total, min(raw.value) as low, max(raw.value) as high
    from {source} as raw
    cross join lateral (
        values ('hourly', date_trunc('hour', raw.recorded_at, 'UTC')), ('daily', date_trunc('day', raw.recorded_at, 'UTC'))
    ) as windows (resolution, window_start)
    group by raw.metric, windows.resolution, raw.labels, windows.window_start
)
insert into ml_performance_rollups as known (
    metric, resolution, labels, window_start, n, sum, min, max, rolled_up_at
)
select
    fresh.metric, fresh.resolution, fresh.labels, fresh.window_start,
    fresh.n + coalesce(before.gone_n, 0),
    (fresh.total + coalesce(before.gone_sum, 0))::double precision,
    least(fresh.low, case when before.gone_n > 0 then before.min end),
    greatest(fresh.high, case when before.gone_n > 0 then before.max end),
    clock_timestamp()
from fresh
left join ml_performance_rollups as before
    on before.metric = fresh.metric and before.resolution = fresh.resolution and before.labels = fresh.labels
    and before.window_start = fresh.window_start
on conflict (metric, resolution, labels, window_start) do update set
    n = excluded.n, sum = excluded.sum, min = excluded.min, max = excluded.max, rolled_up_at = excluded.rolled_up_at
