-- What may go and what went: policies, sealed plans, tombstones and regrets. Frozen: what came later is in later migrations.

create table ml_retention_policies (
    policy_id text not null,
    version integer not null,
    dataset text not null,
    match text not null,
    keep_seconds bigint not null,
    anchor text default 'computed_at' not null,
    action text default 'delete' not null,
    priority integer not null,
    enabled boolean default true not null,
    grace_seconds bigint default '0' not null,
    reason text not null,
    created_by text not null,
    created_at timestamptz default now() not null,
    superseded_at timestamptz,
    constraint pk_ml_retention_policies primary key (policy_id, version),
    constraint ck_ml_retention_policies_created_at_before_superseded_at check (created_at <= superseded_at),
    constraint ck_ml_retention_policies_policy_id_filled check (policy_id <> ''),
    constraint ck_ml_retention_policies_version check (version >= 1),
    constraint ck_ml_retention_policies_dataset_filled check (dataset <> ''),
    constraint ck_ml_retention_policies_match_filled check (match <> ''),
    constraint ck_ml_retention_policies_keep_seconds check (keep_seconds >= 0),
    constraint ck_ml_retention_policies_anchor check (anchor in ('computed_at', 'last_used', 'expires_at')),
    constraint ck_ml_retention_policies_action check (action in ('delete', 'archive', 'compress', 'downsample', 'migrate')),
    constraint ck_ml_retention_policies_grace_seconds check (grace_seconds >= 0),
    constraint ck_ml_retention_policies_reason_filled check (reason <> ''),
    constraint ck_ml_retention_policies_created_by_filled check (created_by <> ''),
    constraint ck_ml_retention_policies_created_at check (isfinite(created_at)),
    constraint ck_ml_retention_policies_superseded_at check (isfinite(superseded_at))
);
create unique index uq_ml_retention_policies_current on ml_retention_policies (policy_id)
where superseded_at is null;
create unique index uq_ml_retention_policies_priority on ml_retention_policies (dataset, priority)
where superseded_at is null;
comment on table ml_retention_policies is 'Retention policies with every version of each; a policy says what is kept and for how long.';
comment on column ml_retention_policies.policy_id is 'Name of the policy.';
comment on column ml_retention_policies.version is '1, 2, ...';
comment on column ml_retention_policies.dataset is 'What it governs.';
comment on column ml_retention_policies.match is 'Filter of the rows it governs, in the filter grammar.';
comment on column ml_retention_policies.keep_seconds is 'How long they are kept from the anchor.';
comment on column ml_retention_policies.anchor is 'Instant the time is counted from.';
comment on column ml_retention_policies.action is 'What happens to expired rows.';
comment on column ml_retention_policies.priority is 'The highest that matches governs a row.';
comment on column ml_retention_policies.enabled is 'Whether it takes part.';
comment on column ml_retention_policies.grace_seconds is 'How long an expired row can be brought back.';
comment on column ml_retention_policies.reason is 'Why this number.';
comment on column ml_retention_policies.created_by is 'Who wrote this version.';
comment on column ml_retention_policies.created_at is 'When.';
comment on column ml_retention_policies.superseded_at is 'When the next version took over; null for the current one.';

create table plans (
    plan_sha256 text not null,
    dataset text not null,
    action text not null,
    as_of timestamptz not null,
    policy_versions jsonb default '{}' not null,
    counts jsonb default '{}' not null,
    state text default 'planned' not null,
    refused_because text,
    created_by text not null,
    created_at timestamptz default now() not null,
    confirmed_by text,
    confirmed_at timestamptz,
    grace_until timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    freed_logical_bytes bigint,
    freed_file_bytes bigint,
    freed_disk_bytes bigint,
    constraint pk_plans primary key (plan_sha256),
    constraint ck_plans_created_at_before_confirmed_at check (created_at <= confirmed_at),
    constraint ck_plans_started_at_before_finished_at check (started_at <= finished_at),
    constraint ck_plans_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_plans_dataset_filled check (dataset <> ''),
    constraint ck_plans_action check (action in ('delete', 'archive', 'compress', 'downsample', 'migrate')),
    constraint ck_plans_as_of check (isfinite(as_of)),
    constraint ck_plans_policy_versions check (jsonb_typeof(policy_versions) = 'object'),
    constraint ck_plans_counts check (jsonb_typeof(counts) = 'object'),
    constraint ck_plans_state check (state in ('planned', 'refused', 'marked', 'archived', 'published', 'swept', 'done', 'restored')),
    constraint ck_plans_created_by_filled check (created_by <> ''),
    constraint ck_plans_created_at check (isfinite(created_at)),
    constraint ck_plans_confirmed_at check (isfinite(confirmed_at)),
    constraint ck_plans_grace_until check (isfinite(grace_until)),
    constraint ck_plans_started_at check (isfinite(started_at)),
    constraint ck_plans_finished_at check (isfinite(finished_at)),
    constraint ck_plans_freed_logical_bytes check (freed_logical_bytes >= 0),
    constraint ck_plans_freed_file_bytes check (freed_file_bytes >= 0)
);
create index ix_plans_dataset_as_of on plans (dataset, as_of);
create index ix_plans_open on plans (state)
where state not in ('refused', 'done', 'restored');
comment on table plans is 'Sealed plans: what a run may remove, how far it came, and what it freed.';
comment on column plans.plan_sha256 is 'The plan, by the hash of its content.';
comment on column plans.dataset is 'What it is about.';
comment on column plans.action is 'What happens to expired rows.';
comment on column plans.as_of is 'Instant every decision refers to.';
comment on column plans.policy_versions is 'Versions of the policies it was made with.';
comment on column plans.counts is 'Rows, partitions and bytes by policy and verdict.';
comment on column plans.state is 'How far it came.';
comment on column plans.refused_because is 'Guard that refused it.';
comment on column plans.created_by is 'Who asked for it.';
comment on column plans.created_at is 'When.';
comment on column plans.confirmed_by is 'Who confirmed it by its hash.';
comment on column plans.confirmed_at is 'When.';
comment on column plans.grace_until is 'Until when it can be taken back.';
comment on column plans.started_at is 'Start of its execution.';
comment on column plans.finished_at is 'End of its execution.';
comment on column plans.freed_logical_bytes is 'Bytes of the removed rows.';
comment on column plans.freed_file_bytes is 'Bytes of removed files or relations.';
comment on column plans.freed_disk_bytes is 'Bytes the file system gained; other writers count too.';

create table regrets (
    seq bigint generated always as identity,
    tenant text not null,
    dataset text not null,
    key_digest bytea not null,
    removed_at timestamptz not null,
    requested_at timestamptz not null,
    policy_id text,
    recompute_seconds double precision,
    constraint pk_regrets primary key (seq),
    constraint ck_regrets_removed_at_before_requested_at check (removed_at <= requested_at),
    constraint ck_regrets_tenant_filled check (tenant <> ''),
    constraint ck_regrets_dataset_filled check (dataset <> ''),
    constraint ck_regrets_key_digest check (octet_length(key_digest) = 32),
    constraint ck_regrets_removed_at check (isfinite(removed_at)),
    constraint ck_regrets_requested_at check (isfinite(requested_at)),
    constraint ck_regrets_recompute_seconds check (recompute_seconds >= 0 and recompute_seconds < 'infinity')
);
create index ix_regrets_policy_id_requested_at on regrets (policy_id, requested_at);
comment on table regrets is 'Requests for entries that had been removed.';
comment on column regrets.seq is 'Order of arrival.';
comment on column regrets.tenant is 'Whose request.';
comment on column regrets.dataset is 'Where the entry was.';
comment on column regrets.key_digest is 'Keyed digest of its key.';
comment on column regrets.removed_at is 'When it had been removed.';
comment on column regrets.requested_at is 'When it was asked for again.';
comment on column regrets.policy_id is 'Policy that had let it go.';
comment on column regrets.recompute_seconds is 'What computing it again cost, measured.';

create table tombstones (
    tenant text not null,
    dataset text not null,
    key_digest bytea not null,
    removed_at timestamptz not null,
    policy_id text,
    policy_version integer,
    plan_sha256 text,
    age_seconds double precision,
    compute_seconds double precision,
    size_bytes bigint,
    constraint pk_tombstones primary key (tenant, dataset, key_digest, removed_at),
    constraint ck_tombstones_tenant_filled check (tenant <> ''),
    constraint ck_tombstones_dataset_filled check (dataset <> ''),
    constraint ck_tombstones_key_digest check (octet_length(key_digest) = 32),
    constraint ck_tombstones_removed_at check (isfinite(removed_at)),
    constraint ck_tombstones_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_tombstones_age_seconds check (age_seconds >= 0 and age_seconds < 'infinity'),
    constraint ck_tombstones_compute_seconds check (compute_seconds >= 0 and compute_seconds < 'infinity'),
    constraint ck_tombstones_size_bytes check (size_bytes >= 0)
);
create index ix_tombstones_removed_at on tombstones (removed_at);
comment on table tombstones is 'What remains of a removed entry: a keyed digest, so that a later request for it is recognised as a regret.';
comment on column tombstones.tenant is 'Whose entry it was.';
comment on column tombstones.dataset is 'Where it was.';
comment on column tombstones.key_digest is 'Keyed digest of its key; the key itself is gone.';
comment on column tombstones.removed_at is 'When it was removed.';
comment on column tombstones.policy_id is 'Policy that let it go.';
comment on column tombstones.policy_version is 'Its version.';
comment on column tombstones.plan_sha256 is 'The plan, by the hash of its content.';
comment on column tombstones.age_seconds is 'Its age when it went.';
comment on column tombstones.compute_seconds is 'What computing it had cost, measured.';
comment on column tombstones.size_bytes is 'Its bytes.';

create table plan_rows (
    plan_sha256 text not null,
    position bigint not null,
    target_kind text not null,
    target text not null,
    verdict text not null,
    reason text not null,
    policy_id text,
    policy_version integer,
    anchored_at timestamptz,
    expires_at timestamptz,
    size_bytes bigint,
    outcome text,
    constraint pk_plan_rows primary key (plan_sha256, position),
    constraint ck_plan_rows_anchored_at_before_expires_at check (anchored_at <= expires_at),
    constraint fk_plan_rows_plan_sha256 foreign key(plan_sha256) references plans (plan_sha256) on delete cascade,
    constraint fk_plan_rows_policy_id_policy_version foreign key(policy_id, policy_version) references ml_retention_policies (policy_id, version),
    constraint ck_plan_rows_policy_has_version check ((policy_id is null) = (policy_version is null)),
    constraint ck_plan_rows_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_plan_rows_position check (position >= 0),
    constraint ck_plan_rows_target_kind check (target_kind in ('row', 'partition', 'file')),
    constraint ck_plan_rows_target_filled check (target <> ''),
    constraint ck_plan_rows_verdict check (verdict in ('keep', 'expire')),
    constraint ck_plan_rows_reason_filled check (reason <> ''),
    constraint ck_plan_rows_anchored_at check (isfinite(anchored_at)),
    constraint ck_plan_rows_expires_at check (isfinite(expires_at)),
    constraint ck_plan_rows_size_bytes check (size_bytes >= 0),
    constraint ck_plan_rows_outcome check (outcome in ('removed', 'kept', 'missing', 'restored'))
);
comment on table plan_rows is 'Rows, partitions or files of a plan, with the verdict on each and its reason.';
comment on column plan_rows.plan_sha256 is 'The plan, by the hash of its content.';
comment on column plan_rows.position is 'Place in the sorted plan.';
comment on column plan_rows.target_kind is 'Row, partition or file.';
comment on column plan_rows.target is 'Its id.';
comment on column plan_rows.verdict is 'What the policy says.';
comment on column plan_rows.reason is 'Why, for people.';
comment on column plan_rows.policy_id is 'Governing policy; null where none governs.';
comment on column plan_rows.policy_version is 'Its version.';
comment on column plan_rows.anchored_at is 'Anchor the age was counted from.';
comment on column plan_rows.expires_at is 'When it expires by that policy.';
comment on column plan_rows.size_bytes is 'Its bytes.';
comment on column plan_rows.outcome is 'What execution did; null before.';
