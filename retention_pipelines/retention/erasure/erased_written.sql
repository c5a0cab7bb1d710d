-- Rows that go, once per file they came from.
create or replace temp table erased_written as
select sha256, sum(n_values)::bigint as n_values, sum(n_rows)::bigint as n_rows,
    sum(n_quarantined)::bigint as n_quarantined
from erased_written group by sha256
