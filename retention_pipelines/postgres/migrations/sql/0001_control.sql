-- Tables of the platform's own conduct: the audit chain, API keys and the invalidation log. Frozen: what came later is in later migrations.

create table api_keys (
    key_id text not null,
    key_sha256 bytea not null,
    tenant text not null,
    label text not null,
    scopes text[] not null,
    created_at timestamptz default now() not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint pk_api_keys primary key (key_id),
    constraint ck_api_keys_created_at_before_expires_at check (created_at <= expires_at),
    constraint ck_api_keys_key_id_filled check (key_id <> ''),
    constraint ck_api_keys_key_sha256 check (octet_length(key_sha256) = 32),
    constraint ck_api_keys_tenant_filled check (tenant <> ''),
    constraint ck_api_keys_label_filled check (label <> ''),
    constraint ck_api_keys_scopes check (cardinality(scopes) > 0 and scopes <@ array['read', 'run', 'execute', 'policy:write', 'hold:write', 'erase', 'admin']),
    constraint ck_api_keys_created_at check (isfinite(created_at)),
    constraint ck_api_keys_expires_at check (isfinite(expires_at)),
    constraint ck_api_keys_revoked_at check (isfinite(revoked_at))
);
create unique index uq_api_keys_key_sha256 on api_keys (key_sha256);
comment on table api_keys is 'Keys of the HTTP service; only their hashes are here.';
comment on column api_keys.key_id is 'Public part of the key.';
comment on column api_keys.key_sha256 is 'SHA-256 of the key.';
comment on column api_keys.tenant is 'Tenant it speaks for.';
comment on column api_keys.label is 'What it is for.';
comment on column api_keys.scopes is 'What it may do.';
comment on column api_keys.created_at is 'When it was made.';
comment on column api_keys.expires_at is 'When it ends.';
comment on column api_keys.revoked_at is 'When it was taken back.';

create table audit (
    seq BIGSERIAL not null,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    plan_sha256 text,
    details jsonb default '{}' not null,
    previous_hash bytea not null,
    hash bytea not null,
    constraint pk_audit primary key (seq),
    constraint ck_audit_at check (isfinite(at)),
    constraint ck_audit_actor_filled check (actor <> ''),
    constraint ck_audit_action_filled check (action <> ''),
    constraint ck_audit_subject_filled check (subject <> ''),
    constraint ck_audit_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_audit_details check (jsonb_typeof(details) = 'object'),
    constraint ck_audit_previous_hash check (octet_length(previous_hash) = 32),
    constraint ck_audit_hash check (octet_length(hash) = 32)
);
create index ix_audit_at on audit (at);
create index ix_audit_subject on audit using hash (subject);
create unique index uq_audit_previous_hash on audit (previous_hash);
comment on table audit is 'What was done, by whom: rows are only added, and each holds the hash of the one before. See audit.py.';
comment on column audit.seq is 'Place in the chain, without gaps; set by the database.';
comment on column audit.at is 'When, by the database''s clock; set by the database.';
comment on column audit.actor is 'Who: a person, key or process.';
comment on column audit.action is 'What was done.';
comment on column audit.subject is 'To what.';
comment on column audit.plan_sha256 is 'Plan it belongs to.';
comment on column audit.details is 'Counts, versions, reasons; no personal data.';
comment on column audit.previous_hash is 'Hash of the row before; zeros for the first. Set by the database.';
comment on column audit.hash is 'SHA-256 over the row before and this one. Set by the database.';

create table invalidation_log (
    seq bigint generated always as identity,
    at timestamptz default clock_timestamp() not null,
    tenant text,
    scope text not null,
    target text,
    version text,
    constraint pk_invalidation_log primary key (seq),
    constraint ck_invalidation_log_target_fits_scope check ((scope = 'all') = (target is null)),
    constraint ck_invalidation_log_at check (isfinite(at)),
    constraint ck_invalidation_log_scope check (scope in ('key', 'function', 'model', 'source', 'tag', 'all'))
);
create index ix_invalidation_log_at on invalidation_log (at);
comment on table invalidation_log is 'What caches must forget, in commit order: whoever missed a notification catches up from the last number seen.';
comment on column invalidation_log.seq is 'Increases in commit order.';
comment on column invalidation_log.at is 'When, by the database''s clock.';
comment on column invalidation_log.tenant is 'Whose entries; null for everyone''s.';
comment on column invalidation_log.scope is 'What `target` names.';
comment on column invalidation_log.target is 'Key, function, model or tag; null for all.';
comment on column invalidation_log.version is 'Version that took over, where there is one.';
