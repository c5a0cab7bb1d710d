-- Postgres: the questions of an online read; `now()` tells which rows could be known, by the database's clock.
-- Planned once: with a plan per call the planner costs more than the lookup. Perhaps that is before the first load, and
-- the table that is all but empty then must not be read whole when it is full.
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;

prepare online_one (text, uuid, text) as
select feature_type, entity, payload, payload_mac, now()
from online_features
where tenant = $1 and entity = $2 and feature_type = $3;

prepare online_every (text, uuid) as
select feature_type, entity, payload, payload_mac, now()
from online_features
where tenant = $1 and entity = $2;

prepare online_many (text, uuid[], text[]) as
select feature_type, entity, payload, payload_mac, now()
from online_features
where tenant = $1 and entity = any($2) and feature_type = any($3);

-- Whether the copy is complete, and laid out as this program reads it.
prepare online_held (text) as
select feature_type, layout, now()
from online_loads
where tenant = $1;
