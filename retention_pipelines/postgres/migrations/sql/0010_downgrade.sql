-- As 0009 left them: rows as documents.
select set_config('retention.tenant', '*', true);
create table public.graveyard (
    plan_sha256 text not null,
    position bigint not null,
    tenant text,
    relation text not null,
    row_id text not null,
    row jsonb default '{}' not null,
    buried_at timestamptz default now() not null,
    constraint pk_graveyard primary key (plan_sha256, position),
    constraint fk_graveyard_plan_sha256 foreign key (plan_sha256) references public.plans (plan_sha256),
    constraint ck_graveyard_plan_sha256 check (plan_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_graveyard_position check (position >= 0),
    constraint ck_graveyard_relation_filled check (relation <> ''),
    constraint ck_graveyard_row_id_filled check (row_id <> ''),
    constraint ck_graveyard_row check (jsonb_typeof(row) = 'object'),
    constraint ck_graveyard_buried_at check (isfinite(buried_at))
);
comment on table public.graveyard is 'Rows that a run took out, until their grace is over.';
comment on column public.graveyard.plan_sha256 is 'Plan that took it out.';
comment on column public.graveyard.position is 'Place in the plan.';
comment on column public.graveyard.tenant is 'Whose row it was; null where rows have no tenant.';
comment on column public.graveyard.relation is 'Table it was in.';
comment on column public.graveyard.row_id is 'What the plan calls it.';
comment on column public.graveyard.row is 'The row, column by column.';
comment on column public.graveyard.buried_at is 'When it was taken out.';

insert into public.graveyard (plan_sha256, position, tenant, relation, row_id, row)
select
    plan_sha256, position, tenant, 'ml_inference_cache', json_build_array(tenant, cache_key, expires_on)::text,
    to_jsonb(gone) - 'plan_sha256' - 'position'
from public.graveyard_inference_cache as gone
union all
select
    plan_sha256, position, tenant, 'ml_training_cache', json_build_array(tenant, cache_key)::text,
    to_jsonb(gone) - 'plan_sha256' - 'position'
from public.graveyard_training_cache as gone
union all
select
    plan_sha256, position, null, 'ml_performance_metrics', json_build_array(recorded_on, seq)::text,
    to_jsonb(gone) - 'plan_sha256' - 'position'
from public.graveyard_performance_metrics as gone;

alter table public.graveyard enable row level security;
alter table public.graveyard force row level security;
create policy tenant_only on public.graveyard
    using (tenant is null or current_setting('retention.tenant', true) in (tenant, '*'));
drop table public.graveyard_inference_cache, public.graveyard_training_cache, public.graveyard_performance_metrics;
