-- Postgres: rows to be compared with those of online_features, and the studies a load looks at.
create temp table _fresh (entity uuid not null, payload bytea not null, payload_mac bytea not null) on commit drop;
create temp table _gone (entity uuid not null) on commit drop;
alter table _fresh alter column payload set storage external;
