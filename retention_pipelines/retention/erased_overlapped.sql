-- The months that held the subject, as instants. Input: erasure_months.
create or replace temp table erased_overlapped as
select (month || '-01')::date::timestamptz as first_instant,
    ((month || '-01')::date + interval 1 month)::timestamptz as last_instant
from erasure_months
