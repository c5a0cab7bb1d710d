-- Accepted rows of `tidy_rows` as observations, one per measurement; duplicates are in `duplicate_rows`.
select * exclude (reason, detail, measurements, measured), measured.*
from (
    select *, unnest(measurements) as measured
    from tidy_rows
    where reason is null and source_row not in (select source_row from duplicate_rows)
)
