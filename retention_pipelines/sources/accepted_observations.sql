-- Accepted rows of `tidy_rows` as observations, one per measurement.
select * exclude (reason, detail, measurements, measured), measured.*
from (select *, unnest(measurements) as measured from tidy_rows where reason is null)
