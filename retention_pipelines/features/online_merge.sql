-- Postgres: add what is new and replace what differs; equal rows are left alone. In the order of the key, so that pages
-- of its index are filled one after the other.
insert into online_features as held (tenant, entity, feature_type, payload, payload_mac)
select %(tenant)s, entity, %(feature_type)s, payload, payload_mac
from _fresh
order by entity
on conflict (tenant, entity, feature_type) do update
set payload = excluded.payload, payload_mac = excluded.payload_mac
where held.payload_mac <> excluded.payload_mac
