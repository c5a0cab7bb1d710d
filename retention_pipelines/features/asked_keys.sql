-- Number the keys asked for, in their own order.
-- Input: _ask.
create or replace temp table _key as
select key, (row_number() over (order by key) - 1)::bigint as code
from (select distinct key from _ask);
