-- Months as instants: those that held the subject, and those that lack rows retention took. Input: erasure_months.
create or replace temp table erased_overlapped as
select (month || '-01')::date::timestamptz as first_instant,
    ((month || '-01')::date + interval 1 month)::timestamptz as last_instant, is_lacking
from erasure_months
