-- Feature rows by type, with their quality: each study once, in its newest version.
with newest as (
    select feature_type, quality_score, priority
    from feature_store
    qualify row_number() over (partition by feature_id order by computed_at desc, feature_hash) = 1
)
select feature_type, count(*) as rows, avg(quality_score) as mean_quality, median(quality_score) as median_quality,
       count(*) filter (priority = 'high') as high, count(*) filter (priority = 'medium') as medium,
       count(*) filter (priority = 'low') as low
from newest
group by feature_type
order by feature_type
