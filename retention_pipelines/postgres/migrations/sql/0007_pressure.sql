-- Size budgets of datasets, and the access log by key and day. Frozen: what came later is in later migrations.
create table dataset_budgets (
    dataset text not null,
    budget_bytes bigint not null,
    set_by text not null,
    set_at timestamptz default now() not null,
    constraint pk_dataset_budgets primary key (dataset),
    constraint ck_dataset_budgets_dataset_filled check (dataset <> ''),
    constraint ck_dataset_budgets_budget_bytes check (budget_bytes >= 1),
    constraint ck_dataset_budgets_set_by_filled check (set_by <> ''),
    constraint ck_dataset_budgets_set_at check (isfinite(set_at))
);
comment on table dataset_budgets is 'How many bytes a dataset may take before pressure brings expiry forward; none: no limit.';
comment on column dataset_budgets.dataset is 'What it limits.';
comment on column dataset_budgets.budget_bytes is 'The limit.';
comment on column dataset_budgets.set_by is 'Who set it.';
comment on column dataset_budgets.set_at is 'When.';

-- Nothing ever wrote the old one.
drop table access_log;
drop sequence access_log_seq;
create table access_log (
    accessed_on date not null,
    tenant text not null,
    dataset text not null,
    key text not null,
    hits bigint not null,
    last_accessed_at timestamptz not null,
    constraint pk_access_log primary key (accessed_on, tenant, dataset, key),
    constraint ck_access_log_accessed_on_is_day_of_last_accessed_at
        check (accessed_on = (last_accessed_at at time zone 'UTC')::date),
    constraint ck_access_log_tenant_filled check (tenant <> ''),
    constraint ck_access_log_dataset_filled check (dataset <> ''),
    constraint ck_access_log_key_filled check (key <> ''),
    constraint ck_access_log_hits check (hits >= 1),
    constraint ck_access_log_last_accessed_at check (isfinite(last_accessed_at))
)
partition by range (accessed_on);
comment on table access_log is 'Reads by users, by key and day; what-if runs replay it.';
comment on column access_log.accessed_on is 'Partition: UTC day of the reads.';
comment on column access_log.tenant is 'Whose entry.';
comment on column access_log.dataset is 'Table or lake dataset.';
comment on column access_log.key is 'The entry or row.';
comment on column access_log.hits is 'Reads on that day.';
comment on column access_log.last_accessed_at is 'Last of them, by the database''s clock.';
create table retention_partitions.access_log_default partition of access_log default;
alter table access_log enable row level security;
alter table access_log force row level security;
create policy tenant_only on access_log
    using (current_setting('retention.tenant', true) in (tenant, '*'));
