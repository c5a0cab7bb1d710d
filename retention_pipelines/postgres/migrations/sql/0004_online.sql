-- Hot rows of the feature store. Unlogged: a copy of the lake, made again after a crash. Frozen: what came later is in later migrations.
create unlogged table online_features (
    tenant text not null,
    entity uuid not null,
    feature_type text not null,
    payload bytea not null,
    payload_mac bytea not null,
    constraint pk_online_features primary key (tenant, entity, feature_type),
    constraint ck_online_features_tenant_filled check (tenant <> ''),
    constraint ck_online_features_feature_type check (feature_type in ('temporal', 'spatial', 'environmental', 'species')),
    constraint ck_online_features_payload_mac check (octet_length(payload_mac) = 32)
);
comment on table online_features is 'The latest features of every study, one row per feature type, for reads of single studies within microseconds.';
comment on column online_features.tenant is 'Whose copy it is; row-level security shows a session only the tenant it names.';
comment on column online_features.entity is 'Digest of the study''s name, which may have any length.';
comment on column online_features.feature_type is 'Kind of features.';
comment on column online_features.payload is 'The row, encoded; it begins with a tag of its layout.';
comment on column online_features.payload_mac is 'Keyed digest of tenant, type, study and payload; a row it does not fit is not served.';
-- Payloads are noise to a compressor, and short.
alter table online_features alter column payload set storage external;

create unlogged table online_loads (
    tenant text not null,
    feature_type text not null,
    lake_table text not null,
    lake_version bigint not null,
    layout text not null,
    rows_held bigint not null,
    loaded_at timestamptz not null,
    constraint pk_online_loads primary key (tenant, feature_type),
    constraint ck_online_loads_tenant_filled check (tenant <> ''),
    constraint ck_online_loads_feature_type check (feature_type in ('temporal', 'spatial', 'environmental', 'species')),
    constraint ck_online_loads_lake_table_filled check (lake_table <> ''),
    constraint ck_online_loads_lake_version check (lake_version >= 0),
    constraint ck_online_loads_layout_filled check (layout <> ''),
    constraint ck_online_loads_rows_held check (rows_held >= 0),
    constraint ck_online_loads_loaded_at check (isfinite(loaded_at))
);
comment on table online_loads is 'What the copy in online_features holds: the state of the lake it was last brought to.';
comment on column online_loads.tenant is 'Whose copy it is.';
comment on column online_loads.feature_type is 'Kind of features.';
comment on column online_loads.lake_table is 'Identity of the lake table, which a new lake has not.';
comment on column online_loads.lake_version is 'Version of that table the copy is at.';
comment on column online_loads.layout is 'Layout of the payloads; rows of another layout are loaded again.';
comment on column online_loads.rows_held is 'Rows of the copy.';
comment on column online_loads.loaded_at is 'When, by the database''s clock.';

do $$
declare
    tenanted text;
begin
    foreach tenanted in array array['online_features', 'online_loads'] loop
        execute format('alter table public.%I enable row level security', tenanted);
        execute format('alter table public.%I force row level security', tenanted);
        execute format(
            'create policy tenant_only on public.%I'
            ' using (current_setting(''retention.tenant'', true) in (tenant, ''*''))',
            tenanted
        );
    end loop;
end
$$;
