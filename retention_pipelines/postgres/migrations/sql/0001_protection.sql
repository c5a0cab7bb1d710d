-- What policies may not touch: holds, pins, leases, and the roots that live models need; and erasure orders. Frozen: what came later is in later migrations.

create table erasure_orders (
    order_id bigint generated always as identity,
    subject_kind text not null,
    subject_digest bytea not null,
    reason text not null,
    ordered_by text not null,
    ordered_at timestamptz default now() not null,
    state text default 'ordered' not null,
    finished_at timestamptz,
    certificate jsonb default '{}' not null,
    constraint pk_erasure_orders primary key (order_id),
    constraint ck_erasure_orders_ordered_at_before_finished_at check (ordered_at <= finished_at),
    constraint ck_erasure_orders_done_has_date check ((state = 'done') = (finished_at is not null)),
    constraint ck_erasure_orders_subject_kind check (subject_kind in ('study', 'taxon', 'contributor', 'dataset')),
    constraint ck_erasure_orders_subject_digest check (octet_length(subject_digest) = 32),
    constraint ck_erasure_orders_reason_filled check (reason <> ''),
    constraint ck_erasure_orders_ordered_by_filled check (ordered_by <> ''),
    constraint ck_erasure_orders_ordered_at check (isfinite(ordered_at)),
    constraint ck_erasure_orders_state check (state in ('ordered', 'running', 'done')),
    constraint ck_erasure_orders_finished_at check (isfinite(finished_at)),
    constraint ck_erasure_orders_certificate check (jsonb_typeof(certificate) = 'object')
);
comment on table erasure_orders is 'Orders to erase a study, taxon, contributor or dataset from every tier, and the certificate.';
comment on column erasure_orders.order_id is 'Number of the order.';
comment on column erasure_orders.subject_kind is 'What kind of thing.';
comment on column erasure_orders.subject_digest is 'Keyed digest of it: the list that keeps it from coming back must not hold it.';
comment on column erasure_orders.reason is 'Why.';
comment on column erasure_orders.ordered_by is 'Who ordered it.';
comment on column erasure_orders.ordered_at is 'When.';
comment on column erasure_orders.state is 'How far it is.';
comment on column erasure_orders.finished_at is 'When it was done.';
comment on column erasure_orders.certificate is 'Counts by tier.';

create table holds (
    hold_id bigint generated always as identity,
    dataset text not null,
    match text not null,
    reason text not null,
    placed_by text not null,
    placed_at timestamptz default now() not null,
    released_by text,
    released_at timestamptz,
    constraint pk_holds primary key (hold_id),
    constraint ck_holds_placed_at_before_released_at check (placed_at <= released_at),
    constraint ck_holds_release_is_signed check ((released_at is null) = (released_by is null)),
    constraint ck_holds_dataset_filled check (dataset <> ''),
    constraint ck_holds_match_filled check (match <> ''),
    constraint ck_holds_reason_filled check (reason <> ''),
    constraint ck_holds_placed_by_filled check (placed_by <> ''),
    constraint ck_holds_placed_at check (isfinite(placed_at)),
    constraint ck_holds_released_at check (isfinite(released_at))
);
create index ix_holds_open on holds (dataset)
where released_at is null;
comment on table holds is 'Legal holds: nothing they match is removed until they are released, not even by an erasure order.';
comment on column holds.hold_id is 'Number of the hold.';
comment on column holds.dataset is 'Dataset it protects.';
comment on column holds.match is 'Filter of what it protects, in the filter grammar.';
comment on column holds.reason is 'Why.';
comment on column holds.placed_by is 'Who placed it.';
comment on column holds.placed_at is 'When.';
comment on column holds.released_by is 'Who released it.';
comment on column holds.released_at is 'When; null while it holds.';

create table leases (
    lease_id bigint generated always as identity,
    dataset text not null,
    match text not null,
    reason text not null,
    placed_by text not null,
    placed_at timestamptz default now() not null,
    leased_until timestamptz not null,
    constraint pk_leases primary key (lease_id),
    constraint ck_leases_placed_at_before_leased_until check (placed_at <= leased_until),
    constraint ck_leases_dataset_filled check (dataset <> ''),
    constraint ck_leases_match_filled check (match <> ''),
    constraint ck_leases_reason_filled check (reason <> ''),
    constraint ck_leases_placed_by_filled check (placed_by <> ''),
    constraint ck_leases_placed_at check (isfinite(placed_at)),
    constraint ck_leases_leased_until check (isfinite(leased_until))
);
create index ix_leases_dataset_leased_until on leases (dataset, leased_until);
comment on table leases is 'Leases: in use right now; they end by themselves if the user dies.';
comment on column leases.lease_id is 'Number of the lease.';
comment on column leases.dataset is 'Dataset it protects.';
comment on column leases.match is 'Filter of what it protects, in the filter grammar.';
comment on column leases.reason is 'Why.';
comment on column leases.placed_by is 'Who placed it.';
comment on column leases.placed_at is 'When.';
comment on column leases.leased_until is 'When it ends unless renewed.';

create table models (
    model_id text not null,
    model_version text not null,
    artifact_sha256 bytea,
    state text default 'live' not null,
    details jsonb default '{}' not null,
    registered_at timestamptz default now() not null,
    retired_at timestamptz,
    reproducibility_seconds bigint not null,
    constraint pk_models primary key (model_id, model_version),
    constraint ck_models_registered_at_before_retired_at check (registered_at <= retired_at),
    constraint ck_models_retired_has_date check ((state = 'retired') = (retired_at is not null)),
    constraint ck_models_model_id_filled check (model_id <> ''),
    constraint ck_models_model_version_filled check (model_version <> ''),
    constraint ck_models_artifact_sha256 check (octet_length(artifact_sha256) = 32),
    constraint ck_models_state check (state in ('live', 'retired')),
    constraint ck_models_details check (jsonb_typeof(details) = 'object'),
    constraint ck_models_registered_at check (isfinite(registered_at)),
    constraint ck_models_retired_at check (isfinite(retired_at)),
    constraint ck_models_reproducibility_seconds check (reproducibility_seconds >= 0)
);
comment on table models is 'Model registry: which models are live, and how long after retirement they must stay reproducible.';
comment on column models.model_id is 'The model.';
comment on column models.model_version is 'Its version.';
comment on column models.artifact_sha256 is 'Digest of its artifact.';
comment on column models.state is 'live or retired.';
comment on column models.details is 'What its owners say about it.';
comment on column models.registered_at is 'When it was registered.';
comment on column models.retired_at is 'When it retired; null while live.';
comment on column models.reproducibility_seconds is 'How long after that its inputs are kept.';

create table pins (
    pin_id bigint generated always as identity,
    dataset text not null,
    match text not null,
    reason text not null,
    placed_by text not null,
    placed_at timestamptz default now() not null,
    pinned_until timestamptz,
    released_at timestamptz,
    constraint pk_pins primary key (pin_id),
    constraint ck_pins_placed_at_before_pinned_until check (placed_at <= pinned_until),
    constraint ck_pins_placed_at_before_released_at check (placed_at <= released_at),
    constraint ck_pins_dataset_filled check (dataset <> ''),
    constraint ck_pins_match_filled check (match <> ''),
    constraint ck_pins_reason_filled check (reason <> ''),
    constraint ck_pins_placed_by_filled check (placed_by <> ''),
    constraint ck_pins_placed_at check (isfinite(placed_at)),
    constraint ck_pins_pinned_until check (isfinite(pinned_until)),
    constraint ck_pins_released_at check (isfinite(released_at))
);
create index ix_pins_open on pins (dataset)
where released_at is null;
comment on table pins is 'Pins: somebody wants this kept, until taken away or a date.';
comment on column pins.pin_id is 'Number of the pin.';
comment on column pins.dataset is 'Dataset it protects.';
comment on column pins.match is 'Filter of what it protects, in the filter grammar.';
comment on column pins.reason is 'Why.';
comment on column pins.placed_by is 'Who placed it.';
comment on column pins.placed_at is 'When.';
comment on column pins.pinned_until is 'When it ends by itself.';
comment on column pins.released_at is 'When it was taken away.';

create table roots (
    model_id text not null,
    model_version text not null,
    dataset text not null,
    match text not null,
    lake_version bigint,
    registered_at timestamptz default now() not null,
    constraint pk_roots primary key (model_id, model_version, dataset, match),
    constraint fk_roots_model_id_model_version foreign key(model_id, model_version) references models (model_id, model_version) on delete cascade,
    constraint ck_roots_model_id_filled check (model_id <> ''),
    constraint ck_roots_model_version_filled check (model_version <> ''),
    constraint ck_roots_dataset_filled check (dataset <> ''),
    constraint ck_roots_match_filled check (match <> ''),
    constraint ck_roots_lake_version check (lake_version >= 0),
    constraint ck_roots_registered_at check (isfinite(registered_at))
);
comment on table roots is 'What a live model or its training set needs; protected until the model''s window is over.';
comment on column roots.model_id is 'The model.';
comment on column roots.model_version is 'Its version.';
comment on column roots.dataset is 'Dataset it uses.';
comment on column roots.match is 'Filter of what it uses.';
comment on column roots.lake_version is 'Version of the lake table it was trained on.';
comment on column roots.registered_at is 'When.';
