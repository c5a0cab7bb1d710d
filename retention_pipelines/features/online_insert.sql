-- Postgres: add rows where the tenant has none of the feature type, so that nothing can be in their way: looking for that
-- costs as much again as half of the insert. A batch in the order of the key, so that it goes through its index once.
insert into online_features (tenant, entity, feature_type, payload, payload_mac)
select $1, entity, $2, payload, payload_mac
from unnest($3, $4, $5) as came (entity, payload, payload_mac)
order by entity
