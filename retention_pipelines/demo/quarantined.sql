-- Quarantined rows by reason and dataset, most first.
select reason, dataset_id, count(*) as rows
from quarantine
group by all
order by rows desc, reason, dataset_id
