-- Hot tables: cached features, predictions and training sets, and how often they were read. Frozen: what came later is in later migrations.
create sequence access_log_seq;

create table access_counts (
    tenant text not null,
    dataset text not null,
    key text not null,
    hits bigint not null,
    last_accessed_at timestamptz not null,
    constraint pk_access_counts primary key (tenant, dataset, key),
    constraint ck_access_counts_tenant_filled check (tenant <> ''),
    constraint ck_access_counts_dataset_filled check (dataset <> ''),
    constraint ck_access_counts_key_filled check (key <> ''),
    constraint ck_access_counts_hits check (hits >= 0),
    constraint ck_access_counts_last_accessed_at check (isfinite(last_accessed_at))
);
comment on table access_counts is 'How often and when last an entry or row was read; narrow, so that counting is cheap.';
comment on column access_counts.tenant is 'Whose entry.';
comment on column access_counts.dataset is 'Table or lake dataset.';
comment on column access_counts.key is 'The entry or row.';
comment on column access_counts.hits is 'Reads by users; reads by the system itself do not count.';
comment on column access_counts.last_accessed_at is 'Last such read, by the database''s clock.';

create table access_log (
    seq bigint default nextval('access_log_seq') not null,
    accessed_at timestamptz not null,
    accessed_on date not null,
    dataset text not null,
    partition text,
    version bigint,
    reader text not null,
    run_id text,
    rows_read bigint,
    constraint pk_access_log primary key (accessed_on, seq),
    constraint ck_access_log_accessed_on_is_day_of_accessed_at check (accessed_on = (accessed_at at time zone 'UTC')::date),
    constraint ck_access_log_accessed_at check (isfinite(accessed_at)),
    constraint ck_access_log_dataset_filled check (dataset <> ''),
    constraint ck_access_log_version check (version >= 0),
    constraint ck_access_log_reader check (reader in ('user', 'system')),
    constraint ck_access_log_rows_read check (rows_read >= 0)
)
partition by range (accessed_on);
create index ix_access_log_dataset_accessed_at on access_log (dataset, accessed_at);
comment on table access_log is 'One row per bulk read of a partition; what-if runs replay it.';
comment on column access_log.seq is 'Order of arrival.';
comment on column access_log.accessed_at is 'When.';
comment on column access_log.accessed_on is 'Partition: UTC day of accessed_at.';
comment on column access_log.dataset is 'Table or lake dataset.';
comment on column access_log.partition is 'Partition or key that was read.';
comment on column access_log.version is 'Version of the lake table.';
comment on column access_log.reader is 'user, or system: backfill, retention, dashboards.';
comment on column access_log.run_id is 'Run that read.';
comment on column access_log.rows_read is 'Rows read.';

create table ml_feature_store (
    tenant text not null,
    cache_key text not null,
    feature_id text,
    feature_type text not null,
    source_table text not null,
    source_data_id text,
    temporal_window text,
    spatial_resolution text,
    location_grid text,
    event_time timestamptz,
    quality_score double precision,
    priority text,
    feature_hash text,
    code_version text,
    payload bytea not null,
    payload_codec text not null,
    payload_mac bytea not null,
    writer text,
    computed_at timestamptz not null,
    expires_at timestamptz,
    expires_on date not null,
    compute_seconds double precision,
    constraint pk_ml_feature_store primary key (tenant, cache_key, expires_on),
    constraint ck_ml_feature_store_computed_at_before_expires_at check (computed_at <= expires_at),
    constraint ck_ml_feature_store_expires_on_is_day_of_expires_at check (expires_on = coalesce((expires_at at time zone 'UTC')::date, 'infinity'::date)),
    constraint ck_ml_feature_store_tenant_filled check (tenant <> ''),
    constraint ck_ml_feature_store_cache_key_filled check (cache_key <> ''),
    constraint ck_ml_feature_store_feature_type_filled check (feature_type <> ''),
    constraint ck_ml_feature_store_source_table_filled check (source_table <> ''),
    constraint ck_ml_feature_store_event_time check (isfinite(event_time)),
    constraint ck_ml_feature_store_quality_score check (quality_score >= 0 and quality_score <= 1),
    constraint ck_ml_feature_store_priority check (priority in ('high', 'medium', 'low')),
    constraint ck_ml_feature_store_payload_codec_filled check (payload_codec <> ''),
    constraint ck_ml_feature_store_payload_mac check (octet_length(payload_mac) = 32),
    constraint ck_ml_feature_store_computed_at check (isfinite(computed_at)),
    constraint ck_ml_feature_store_expires_at check (isfinite(expires_at)),
    constraint ck_ml_feature_store_compute_seconds check (compute_seconds >= 0 and compute_seconds < 'infinity')
)
partition by range (expires_on);
create index ix_ml_feature_store_feature_hash on ml_feature_store using hash (feature_hash);
create index ix_ml_feature_store_source_data_id on ml_feature_store using hash (source_data_id);
comment on table ml_feature_store is 'Hot rows of cached features. The full feature store is in the lake.';
comment on column ml_feature_store.tenant is 'Whose entry it is; row-level security shows a session only the tenant it names.';
comment on column ml_feature_store.cache_key is 'Digest of namespace, function, versions and arguments.';
comment on column ml_feature_store.feature_id is 'Study and feature type.';
comment on column ml_feature_store.feature_type is 'Kind of features.';
comment on column ml_feature_store.source_table is 'Where the features were computed from.';
comment on column ml_feature_store.source_data_id is 'The study or other source, by its own name of any length.';
comment on column ml_feature_store.temporal_window is 'ISO 8601 duration the values look at.';
comment on column ml_feature_store.spatial_resolution is 'Resolution of the values.';
comment on column ml_feature_store.location_grid is 'Cell, `<lat0>_<lon0>`.';
comment on column ml_feature_store.event_time is 'Start of the study.';
comment on column ml_feature_store.quality_score is 'Quality; null is unknown, which is not low.';
comment on column ml_feature_store.priority is 'high, medium or low, by the quality.';
comment on column ml_feature_store.feature_hash is 'Hash of the content; several keys may hold the same content.';
comment on column ml_feature_store.code_version is 'Version of the code that computed the row.';
comment on column ml_feature_store.payload is 'The value, encoded.';
comment on column ml_feature_store.payload_codec is 'How the payload is encoded, with the version of the encoding.';
comment on column ml_feature_store.payload_mac is 'Keyed digest of header and payload; an entry whose digest is wrong is a miss.';
comment on column ml_feature_store.writer is 'Process that wrote the entry.';
comment on column ml_feature_store.computed_at is 'When the value was computed.';
comment on column ml_feature_store.expires_at is 'From when on it is not fresh any more; null: never by time.';
comment on column ml_feature_store.expires_on is 'Partition: UTC day of expires_at, infinity without one. Written by the caller, checked here.';
comment on column ml_feature_store.compute_seconds is 'Time it took to compute, measured.';

create table ml_inference_cache (
    tenant text not null,
    cache_key text not null,
    model_id text not null,
    model_type text not null,
    model_version text not null,
    input_summary jsonb default '{}' not null,
    prediction_metadata jsonb default '{}' not null,
    latitude double precision,
    longitude double precision,
    location_grid text,
    cell_deg double precision,
    confidence double precision,
    payload bytea not null,
    payload_codec text not null,
    payload_mac bytea not null,
    writer text,
    computed_at timestamptz not null,
    expires_at timestamptz,
    expires_on date not null,
    compute_seconds double precision,
    constraint pk_ml_inference_cache primary key (tenant, cache_key, expires_on),
    constraint ck_ml_inference_cache_computed_at_before_expires_at check (computed_at <= expires_at),
    constraint ck_ml_inference_cache_expires_on_is_day_of_expires_at check (expires_on = coalesce((expires_at at time zone 'UTC')::date, 'infinity'::date)),
    constraint ck_ml_inference_cache_tenant_filled check (tenant <> ''),
    constraint ck_ml_inference_cache_cache_key_filled check (cache_key <> ''),
    constraint ck_ml_inference_cache_model_id_filled check (model_id <> ''),
    constraint ck_ml_inference_cache_model_type_filled check (model_type <> ''),
    constraint ck_ml_inference_cache_model_version_filled check (model_version <> ''),
    constraint ck_ml_inference_cache_input_summary check (jsonb_typeof(input_summary) = 'object'),
    constraint ck_ml_inference_cache_prediction_metadata check (jsonb_typeof(prediction_metadata) = 'object'),
    constraint ck_ml_inference_cache_latitude check (latitude >= -90 and latitude <= 90),
    constraint ck_ml_inference_cache_longitude check (longitude >= -180 and longitude <= 180),
    constraint ck_ml_inference_cache_cell_deg check (cell_deg >= 0 and cell_deg < 'infinity'),
    constraint ck_ml_inference_cache_confidence check (confidence >= 0 and confidence <= 1),
    constraint ck_ml_inference_cache_payload_codec_filled check (payload_codec <> ''),
    constraint ck_ml_inference_cache_payload_mac check (octet_length(payload_mac) = 32),
    constraint ck_ml_inference_cache_computed_at check (isfinite(computed_at)),
    constraint ck_ml_inference_cache_expires_at check (isfinite(expires_at)),
    constraint ck_ml_inference_cache_compute_seconds check (compute_seconds >= 0 and compute_seconds < 'infinity')
)
partition by range (expires_on);
create index ix_ml_inference_cache_model_id_model_version on ml_inference_cache (model_id, model_version);
comment on table ml_inference_cache is 'Cached predictions.';
comment on column ml_inference_cache.tenant is 'Whose entry it is; row-level security shows a session only the tenant it names.';
comment on column ml_inference_cache.cache_key is 'Digest of namespace, function, versions and arguments.';
comment on column ml_inference_cache.model_id is 'The model.';
comment on column ml_inference_cache.model_type is 'Kind of model.';
comment on column ml_inference_cache.model_version is 'Its version, read once per call.';
comment on column ml_inference_cache.input_summary is 'What was asked, in short; no personal data.';
comment on column ml_inference_cache.prediction_metadata is 'What the model said beside the value.';
comment on column ml_inference_cache.latitude is 'Position asked for, degrees north.';
comment on column ml_inference_cache.longitude is 'Position asked for, degrees east.';
comment on column ml_inference_cache.location_grid is 'Cell whose answer is shared, `<lat0>_<lon0>`.';
comment on column ml_inference_cache.cell_deg is 'Size of that cell in degrees.';
comment on column ml_inference_cache.confidence is 'Confidence of the model.';
comment on column ml_inference_cache.payload is 'The value, encoded.';
comment on column ml_inference_cache.payload_codec is 'How the payload is encoded, with the version of the encoding.';
comment on column ml_inference_cache.payload_mac is 'Keyed digest of header and payload; an entry whose digest is wrong is a miss.';
comment on column ml_inference_cache.writer is 'Process that wrote the entry.';
comment on column ml_inference_cache.computed_at is 'When the value was computed.';
comment on column ml_inference_cache.expires_at is 'From when on it is not fresh any more; null: never by time.';
comment on column ml_inference_cache.expires_on is 'Partition: UTC day of expires_at, infinity without one. Written by the caller, checked here.';
comment on column ml_inference_cache.compute_seconds is 'Time it took to compute, measured.';

create table ml_training_cache (
    tenant text not null,
    cache_key text not null,
    model_type text not null,
    model_version text,
    code_version text,
    parameters jsonb default '{}' not null,
    data_versions jsonb default '{}' not null,
    feature_names text[] default '{}' not null,
    preprocessing jsonb default '{}' not null,
    class_distribution jsonb default '{}' not null,
    provenance jsonb default '{}' not null,
    n_rows bigint not null,
    n_features bigint not null,
    validation_share double precision,
    files text not null,
    content_sha256 bytea not null,
    size_bytes bigint not null,
    quality_score double precision,
    computed_at timestamptz not null,
    expires_at timestamptz,
    invalidated_at timestamptz,
    compute_seconds double precision,
    constraint pk_ml_training_cache primary key (tenant, cache_key),
    constraint ck_ml_training_cache_computed_at_before_expires_at check (computed_at <= expires_at),
    constraint ck_ml_training_cache_computed_at_before_invalidated_at check (computed_at <= invalidated_at),
    constraint ck_ml_training_cache_tenant_filled check (tenant <> ''),
    constraint ck_ml_training_cache_cache_key_filled check (cache_key <> ''),
    constraint ck_ml_training_cache_model_type_filled check (model_type <> ''),
    constraint ck_ml_training_cache_parameters check (jsonb_typeof(parameters) = 'object'),
    constraint ck_ml_training_cache_data_versions check (jsonb_typeof(data_versions) = 'object'),
    constraint ck_ml_training_cache_preprocessing check (jsonb_typeof(preprocessing) = 'object'),
    constraint ck_ml_training_cache_class_distribution check (jsonb_typeof(class_distribution) = 'object'),
    constraint ck_ml_training_cache_provenance check (jsonb_typeof(provenance) = 'object'),
    constraint ck_ml_training_cache_n_rows check (n_rows >= 0),
    constraint ck_ml_training_cache_n_features check (n_features >= 0),
    constraint ck_ml_training_cache_validation_share check (validation_share >= 0 and validation_share <= 1),
    constraint ck_ml_training_cache_files_filled check (files <> ''),
    constraint ck_ml_training_cache_content_sha256 check (octet_length(content_sha256) = 32),
    constraint ck_ml_training_cache_size_bytes check (size_bytes >= 0),
    constraint ck_ml_training_cache_quality_score check (quality_score >= 0 and quality_score <= 1),
    constraint ck_ml_training_cache_computed_at check (isfinite(computed_at)),
    constraint ck_ml_training_cache_expires_at check (isfinite(expires_at)),
    constraint ck_ml_training_cache_invalidated_at check (isfinite(invalidated_at)),
    constraint ck_ml_training_cache_compute_seconds check (compute_seconds >= 0 and compute_seconds < 'infinity')
);
create index ix_ml_training_cache_content_sha256 on ml_training_cache (content_sha256);
create index ix_ml_training_cache_model_type on ml_training_cache (model_type);
comment on table ml_training_cache is 'Prepared training sets: their description; the matrices are files.';
comment on column ml_training_cache.tenant is 'Whose entry it is; row-level security shows a session only the tenant it names.';
comment on column ml_training_cache.cache_key is 'Digest of namespace, function, versions and arguments.';
comment on column ml_training_cache.model_type is 'Kind of model the set is for.';
comment on column ml_training_cache.model_version is 'Version of the preparation.';
comment on column ml_training_cache.code_version is 'Version of the code that prepared it.';
comment on column ml_training_cache.parameters is 'Arguments of the preparation.';
comment on column ml_training_cache.data_versions is 'Versions of the lake tables it was built from.';
comment on column ml_training_cache.feature_names is 'Columns of X, in order.';
comment on column ml_training_cache.preprocessing is 'Steps and scaler parameters.';
comment on column ml_training_cache.class_distribution is 'Share of each class of y.';
comment on column ml_training_cache.provenance is 'Datasets, licences and runs it comes from.';
comment on column ml_training_cache.n_rows is 'Rows of X, validation included.';
comment on column ml_training_cache.n_features is 'Columns of X.';
comment on column ml_training_cache.validation_share is 'Share of rows kept for validation.';
comment on column ml_training_cache.files is 'Folder of the matrices, relative to the training-set root.';
comment on column ml_training_cache.content_sha256 is 'Digest of the files'' content.';
comment on column ml_training_cache.size_bytes is 'Bytes of the files.';
comment on column ml_training_cache.quality_score is 'Quality; null is unknown.';
comment on column ml_training_cache.computed_at is 'When it was prepared.';
comment on column ml_training_cache.expires_at is 'From when on it is not fresh any more; null: never by time.';
comment on column ml_training_cache.invalidated_at is 'When its sources changed; null while valid.';
comment on column ml_training_cache.compute_seconds is 'Time it took to prepare, measured.';
