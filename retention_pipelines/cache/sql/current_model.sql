-- The current version of a model and the digest of its artifact.
select model_version, artifact_sha256 from public.models
where model_id = %s and state = 'live'
order by activated_at desc
limit 1
