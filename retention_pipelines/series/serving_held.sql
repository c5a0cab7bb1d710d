-- Postgres: the windows the copy holds.
select distinct source_type, dataset_id, time_window, window_start from aggregated_time_series
