-- Accepted, quarantined, duplicates and rows to write of `checked_rows`.
select count(*) filter (where reason is null and not twin), count(*) filter (where reason is not null and not twin),
    count(*) filter (where twin), count(*) filter (where reason is null and not twin)
from (select reason, source_row in (select source_row from duplicate_rows) as twin from checked_rows)
