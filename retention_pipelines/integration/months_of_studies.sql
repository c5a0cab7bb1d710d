-- Event months of the records of studies, by raw dataset.
-- Inputs: _asked_study (source_data_id, dataset_id, event_id), _of_occurrences, _of_observations.
select distinct source_data_id, 'occurrences', month from _of_occurrences join _asked_study using (dataset_id, event_id)
union all
select distinct source_data_id, 'observations', month from _of_observations join _asked_study using (dataset_id, event_id)
