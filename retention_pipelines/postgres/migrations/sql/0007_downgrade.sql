-- The access log as 0001 made it, empty, and no budgets.
drop table public.dataset_budgets;
drop table public.access_log;
create sequence access_log_seq;
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
create table retention_partitions.access_log_default partition of public.access_log default;
