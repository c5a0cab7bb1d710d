-- The work queue. Frozen: what came later is in later migrations.
create sequence worker_id_seq;

create table work_queue (
    job_id bigint generated always as identity,
    tenant text not null,
    kind text not null,
    subject text not null,
    arguments jsonb default '{}' not null,
    state text default 'waiting' not null,
    attempts bigint default '0' not null,
    most_attempts bigint default '5' not null,
    queued_at timestamptz default now() not null,
    run_at timestamptz default now() not null,
    started_at timestamptz,
    finished_at timestamptz,
    worker_id bigint,
    reason text,
    constraint pk_work_queue primary key (job_id),
    constraint ck_work_queue_tenant_filled check (tenant <> ''),
    constraint ck_work_queue_kind_filled check (kind <> ''),
    constraint ck_work_queue_subject_filled check (subject <> ''),
    constraint ck_work_queue_arguments check (jsonb_typeof(arguments) = 'object'),
    constraint ck_work_queue_state check (state in ('waiting', 'running', 'done', 'dead')),
    constraint ck_work_queue_attempts check (attempts >= 0),
    constraint ck_work_queue_most_attempts check (most_attempts >= 1),
    constraint ck_work_queue_queued_at check (isfinite(queued_at)),
    constraint ck_work_queue_run_at check (isfinite(run_at)),
    constraint ck_work_queue_started_at check (isfinite(started_at)),
    constraint ck_work_queue_finished_at check (isfinite(finished_at))
);
create index ix_work_queue_due on work_queue (tenant, run_at, job_id) where state = 'waiting';
create index ix_work_queue_running on work_queue (worker_id) where state = 'running';
create index ix_work_queue_subject on work_queue using hash (subject);
comment on table work_queue is 'Work to do behind, such as the features of a new study; a job ends as done, or as dead with the reason.';
comment on column work_queue.job_id is 'The job.';
comment on column work_queue.tenant is 'Who asked.';
comment on column work_queue.kind is 'What is to be done.';
comment on column work_queue.subject is 'To what: a study, by its own name of any length.';
comment on column work_queue.arguments is 'How.';
comment on column work_queue.state is 'Where it is.';
comment on column work_queue.attempts is 'How often it was begun.';
comment on column work_queue.most_attempts is 'After how many it is dead.';
comment on column work_queue.queued_at is 'When it was asked for.';
comment on column work_queue.run_at is 'Not before.';
comment on column work_queue.started_at is 'Begin of the last attempt.';
comment on column work_queue.finished_at is 'When it was done or given up.';
comment on column work_queue.worker_id is 'Worker that runs it; whose advisory lock is free is dead.';
comment on column work_queue.reason is 'Why the last attempt failed.';

alter table work_queue enable row level security;
alter table work_queue force row level security;
create policy tenant_only on work_queue using (current_setting('retention.tenant', true) in (tenant, '*'));
