-- Postgres: the studies a load looks at.
insert into _gone (entity)
select entity from unnest($1) as came (entity)
