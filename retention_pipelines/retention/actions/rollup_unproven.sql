-- Windows of these raw measurements whose rollup does not stand for them: it is missing, or its count, sum or bounds are
-- not theirs together with those of the rows that are gone, or it is not younger than they are.
select count(*)
from (
    select
        raw.metric, windows.resolution, raw.labels, windows.window_start,
        count(*) as n, sum(raw.value::text::numeric) as total, min(raw.value) as low, max(raw.value) as high,
        max(raw.recorded_at) as last_at
    from {source} as raw
    cross join lateral (
        values ('hourly', date_trunc('hour', raw.recorded_at, 'UTC')), ('daily', date_trunc('day', raw.recorded_at, 'UTC'))
    ) as windows (resolution, window_start)
    group by raw.metric, windows.resolution, raw.labels, windows.window_start
) as theirs
left join ml_performance_rollups as known
    on known.metric = theirs.metric and known.resolution = theirs.resolution and known.labels = theirs.labels
    and known.window_start = theirs.window_start
where (
    known.n = theirs.n + known.gone_n
    and known.sum = (theirs.total + known.gone_sum)::double precision
    and known.min <= theirs.low and known.max >= theirs.high
    and (known.gone_n > 0 or (known.min = theirs.low and known.max = theirs.high))
    and known.rolled_up_at > theirs.last_at
) is not true
