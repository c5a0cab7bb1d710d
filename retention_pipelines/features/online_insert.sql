-- Postgres: add rows where the tenant has none of the feature type, so that nothing can be in their way: looking for that
-- costs as much again as half of the insert. In the order of the key, so that pages of its index are filled one after the
-- other.
insert into online_features (tenant, entity, feature_type, payload, payload_mac)
select %(tenant)s, entity, %(feature_type)s, payload, payload_mac
from _fresh
order by entity
