-- Postgres: what a load brings, before it is merged.
create temp table _window (
    source_type text not null,
    dataset_id text not null,
    time_window text not null,
    window_start timestamptz not null,
    fresh boolean not null,
    primary key (source_type, dataset_id, time_window, window_start)
) on commit drop;
create temp table _fresh (like aggregated_time_series including indexes) on commit drop;
alter table _fresh alter column refreshed_at drop not null;
