-- Postgres: the state of the lake the copy of a feature type is at.
insert into online_loads (tenant, feature_type, lake_table, lake_version, layout, rows_held, loaded_at)
values (%s, %s, %s, %s, %s, %s, now())
on conflict (tenant, feature_type) do update
set lake_table = excluded.lake_table, lake_version = excluded.lake_version, layout = excluded.layout,
    rows_held = excluded.rows_held, loaded_at = excluded.loaded_at
