-- By how much compressing may change values, by column. Frozen: what came later is in later migrations.
alter table ml_retention_policies
    add column tolerance jsonb not null default '{}'
    constraint ck_ml_retention_policies_tolerance check (jsonb_typeof(tolerance) = 'object');
comment on column ml_retention_policies.tolerance is
    'By how much compressing may change values, by column, in its unit; empty: not at all.';
