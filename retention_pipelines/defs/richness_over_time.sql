-- Mean richness of the cells per season, of the eight datasets with most records.
with largest as (
    select dataset_id
    from "rows"
    where time_window = 'seasonal' and basis = 'records'
    group by dataset_id
    order by sum(n_records) desc, dataset_id
    limit 8
)
select dataset_id, window_start, avg(richness) as richness
from "rows"
semi join largest using (dataset_id)
where time_window = 'seasonal' and basis = 'records'
group by all
order by dataset_id, window_start
