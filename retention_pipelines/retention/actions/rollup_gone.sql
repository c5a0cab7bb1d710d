-- Note in the rollups that these raw measurements are gone, or, with -1, that they are back.
with theirs as (
    select
        raw.metric, windows.resolution, raw.labels, windows.window_start,
        count(*) as n, sum(raw.value::text::numeric) as total
    from {source} as raw
    cross join lateral (
        values ('hourly', date_trunc('hour', raw.recorded_at, 'UTC')), ('daily', date_trunc('day', raw.recorded_at, 'UTC'))
    ) as windows (resolution, window_start)
    group by raw.metric, windows.resolution, raw.labels, windows.window_start
), noted as (
    update ml_performance_rollups as known set
        gone_n = known.gone_n + %(sign)s::integer * theirs.n, gone_sum = known.gone_sum + %(sign)s::integer * theirs.total
    from theirs
    where known.metric = theirs.metric and known.resolution = theirs.resolution and known.labels = theirs.labels
        and known.window_start = theirs.window_start
    returning 1
)
select (select count(*) from theirs) - (select count(*) from noted)
