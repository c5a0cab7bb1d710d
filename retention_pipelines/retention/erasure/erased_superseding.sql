-- Features that came out otherwise when they were computed again without the subject. Inputs: erased_feature_rows;
-- erasure_instants, when that was.
create or replace temp table erased_superseding as
select source_data_id as study, feature_type as kind, max(computed_at) as renewed_at
from erased_feature_rows
where computed_at in (select "at" from erasure_instants)
group by all
