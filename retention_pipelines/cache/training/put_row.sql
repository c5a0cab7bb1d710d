-- Tell of a training set: its row is new, or replaces that of the set it replaced. Instants are counted from the
-- database's clock.
insert into public.ml_training_cache as stored (
    tenant, cache_key, model_type, model_version, code_version, function, tags, parameters, data_versions,
    feature_names, preprocessing, class_distribution, provenance, n_rows, n_features, validation_share, files,
    content_sha256, size_bytes, computed_at, expires_at, invalidated_at, compute_seconds
)
select
    %(tenant)s, %(cache_key)s, %(model_type)s, %(model_version)s, %(code_version)s, %(function)s, %(tags)s::text[],
    %(parameters)s::jsonb, %(data_versions)s::jsonb, %(feature_names)s::text[], %(preprocessing)s::jsonb,
    %(class_distribution)s::jsonb, %(provenance)s::jsonb, %(n_rows)s, %(n_features)s, %(validation_share)s,
    %(files)s, %(content_sha256)s, %(size_bytes)s, computed.at, computed.at + make_interval(secs => %(ttl_seconds)s),
    null, %(compute_seconds)s
from (select statement_timestamp() - make_interval(secs => %(age_seconds)s) as at) as computed
on conflict (tenant, cache_key) do update set
    model_type = excluded.model_type,
    model_version = excluded.model_version,
    code_version = excluded.code_version,
    function = excluded.function,
    tags = excluded.tags,
    parameters = excluded.parameters,
    data_versions = excluded.data_versions,
    feature_names = excluded.feature_names,
    preprocessing = excluded.preprocessing,
    class_distribution = excluded.class_distribution,
    provenance = excluded.provenance,
    n_rows = excluded.n_rows,
    n_features = excluded.n_features,
    validation_share = excluded.validation_share,
    files = excluded.files,
    content_sha256 = excluded.content_sha256,
    size_bytes = excluded.size_bytes,
    computed_at = excluded.computed_at,
    expires_at = excluded.expires_at,
    invalidated_at = null,
    compute_seconds = excluded.compute_seconds
where stored.computed_at <= excluded.computed_at
