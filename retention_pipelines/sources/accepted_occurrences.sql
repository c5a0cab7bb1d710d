-- Accepted rows of `tidy_rows` as occurrences.
select * exclude (reason, detail) from tidy_rows where reason is null
