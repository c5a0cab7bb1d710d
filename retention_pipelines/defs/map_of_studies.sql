-- Number of studies per cell; the spatial features hold the position.
select
    cell_lon0 + cell_deg / 2 as longitude,
    cell_lat0 + cell_deg / 2 as latitude,
    count(distinct source_data_id) as n
from "rows"
where feature_type = 'spatial'
group by all
order by n desc, longitude, latitude
limit 20000
