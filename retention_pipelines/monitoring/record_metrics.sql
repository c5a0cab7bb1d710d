-- Store a batch of measurements, at the database's time.
insert into public.ml_performance_metrics (recorded_at, recorded_on, metric, value, labels)
select statement_timestamp(), (statement_timestamp() at time zone 'UTC')::date, m.metric, m.value, m.labels::jsonb
from unnest(%(metrics)s::text[], %(values)s::double precision[], %(labels)s::text[]) as m (metric, value, labels)
