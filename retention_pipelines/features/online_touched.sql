-- Studies of which a row came or went between two versions of the table; rows that were only rewritten do not count.
-- Inputs: _came, _went (the files that only the later and only the earlier version has).
create or replace temp table _wanted as
with changed as (
    (select source_data_id, feature_hash, computed_at, version from _came
     except select source_data_id, feature_hash, computed_at, version from _went)
    union all
    (select source_data_id, feature_hash, computed_at, version from _went
     except select source_data_id, feature_hash, computed_at, version from _came)
)
select distinct source_data_id from changed
