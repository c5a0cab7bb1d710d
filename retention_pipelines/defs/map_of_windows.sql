-- Number of observations per cell in the monthly windows of all depths.
select center_lon as longitude, center_lat as latitude, sum(n) as n
from "rows"
where time_window = 'monthly' and layer = 'all'
group by all
order by n desc, longitude, latitude
limit 20000
