-- Postgres: the state of the lake the copy is at. Parameters: dataset, lake_table, lake_version.
insert into serving_loads (dataset, lake_table, lake_version, loaded_at)
values (%s, %s, %s, transaction_timestamp())
on conflict (dataset) do update
set lake_table = excluded.lake_table, lake_version = excluded.lake_version, loaded_at = excluded.loaded_at
