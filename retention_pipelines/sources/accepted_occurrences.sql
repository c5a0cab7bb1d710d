-- Accepted rows of `tidy_rows` as occurrences; duplicates are in `duplicate_rows`.
select * exclude (reason, detail)
from tidy_rows
where reason is null and source_row not in (select source_row from duplicate_rows)
