-- Postgres: rows that will be compared with what is there.
insert into _fresh (entity, payload, payload_mac)
select entity, payload, payload_mac
from unnest($1, $2, $3) as came (entity, payload, payload_mac)
