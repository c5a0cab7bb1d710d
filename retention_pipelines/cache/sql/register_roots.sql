-- What a version was trained on is kept for it: its training sets, and the features of the studies or datasets that a
-- set names in its provenance. A text in a filter doubles its quotes. Of more than 40 studies their datasets are kept,
-- which is more, never less.
with known as (
    select cache_key, provenance, data_versions from public.ml_training_cache
    where tenant = %(tenant)s and cache_key = any(%(keys)s::text[])
),
studies as (
    select cache_key, array_agg(distinct study) as named
    from known, jsonb_array_elements_text(
        case when jsonb_typeof(provenance -> 'studies') = 'array' then provenance -> 'studies' else '[]' end) as study
    group by cache_key
),
datasets as (
    select cache_key, dataset from known, jsonb_array_elements_text(
        case when jsonb_typeof(provenance -> 'datasets') = 'array' then provenance -> 'datasets' else '[]' end) as dataset
    where cache_key not in (select cache_key from studies)
    union
    select cache_key, split_part(study, '/', 1) from studies, unnest(named) as study
    where cardinality(named) > 40 or length(array_to_string(named, '')) > 3000
),
needs as (
    select 'training_cache' as dataset, 'cache_key = ''' || replace(cache_key, '''', '''''') || '''' as match,
        null::bigint as lake_version
    from unnest(%(keys)s::text[]) as cache_key
    union
    select 'feature_store', 'source_data_id in (''' || (
            select string_agg(replace(study, '''', ''''''), ''', ''' order by study) from unnest(named) as study
        ) || ''')', (data_versions ->> 'feature_store')::bigint
    from studies join known using (cache_key)
    where cardinality(named) <= 40 and length(array_to_string(named, '')) <= 3000
    union
    select 'feature_store', 'dataset_id = ''' || replace(dataset, '''', '''''') || '''',
        (data_versions ->> 'feature_store')::bigint
    from datasets join known using (cache_key)
)
insert into public.roots (model_id, model_version, dataset, match, lake_version)
select %(model_id)s, %(version)s, dataset, match, case when lake_version >= 0 then lake_version end from needs
on conflict do nothing
