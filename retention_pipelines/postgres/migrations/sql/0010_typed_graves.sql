-- Rows that a run took out lie in a table like their own instead of in documents: five times faster to bury, and exactly
-- what they were (documents have no -0.0). Nothing is checked again that was checked where they came from; a foreign key
-- or a pattern asked for every row took longer than burying it. Frozen: what came later is in later migrations.
select set_config('retention.tenant', '*', true);

create table graveyard_inference_cache (
    plan_sha256 text not null,
    position bigint not null,
    like ml_inference_cache including comments,
    constraint pk_graveyard_inference_cache primary key (plan_sha256, position)
);
create table graveyard_training_cache (
    plan_sha256 text not null,
    position bigint not null,
    like ml_training_cache including comments,
    constraint pk_graveyard_training_cache primary key (plan_sha256, position)
);
create table graveyard_performance_metrics (
    plan_sha256 text not null,
    position bigint not null,
    like ml_performance_metrics including comments,
    constraint pk_graveyard_performance_metrics primary key (plan_sha256, position)
);

do $$
declare
    grave text;
begin
    foreach grave in array array['inference_cache', 'training_cache', 'performance_metrics'] loop
        execute format(
            'insert into graveyard_%s'
            ' select buried.plan_sha256, buried.position, gone.*'
            ' from graveyard as buried cross join lateral jsonb_populate_record(null::ml_%s, buried.row) as gone'
            ' where buried.relation = %L',
            grave, grave, 'ml_' || grave
        );
        execute format(
            'comment on table graveyard_%s is %L',
            grave, 'Rows of ml_' || grave || ' that a run took out, until their grace is over.'
        );
        execute format('comment on column graveyard_%s.plan_sha256 is %L', grave, 'Plan that took it out.');
        execute format('comment on column graveyard_%s.position is %L', grave, 'Place in the plan.');
        continue when grave = 'performance_metrics';
        execute format('alter table graveyard_%s enable row level security', grave);
        execute format('alter table graveyard_%s force row level security', grave);
        execute format(
            'create policy tenant_only on graveyard_%s'
            ' using (current_setting(''retention.tenant'', true) in (tenant, ''*''))',
            grave
        );
    end loop;
end
$$;
drop table graveyard;
