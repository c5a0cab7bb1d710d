-- State of the serving copies. Frozen: what came later is in later migrations.
create table serving_loads (
    dataset text not null,
    lake_table text not null,
    lake_version bigint not null,
    loaded_at timestamptz not null,
    constraint pk_serving_loads primary key (dataset),
    constraint ck_serving_loads_dataset_filled check (dataset <> ''),
    constraint ck_serving_loads_lake_table_filled check (lake_table <> ''),
    constraint ck_serving_loads_lake_version check (lake_version >= 0),
    constraint ck_serving_loads_loaded_at check (isfinite(loaded_at))
);
comment on table serving_loads is 'The state of the lake a serving copy was last brought to.';
comment on column serving_loads.dataset is 'Dataset of the lake, and table of its copy.';
comment on column serving_loads.lake_table is 'Identity of the lake table, which a new lake has not.';
comment on column serving_loads.lake_version is 'Version of that table the copy is at.';
comment on column serving_loads.loaded_at is 'When, by the database''s clock.';
