-- Number of rows per cell, at most 20000 cells, the fullest first.
select
    cell_corner(cell_index(decimal_longitude, getvariable('cell_deg')), getvariable('cell_deg')) + getvariable('cell_deg') / 2 as longitude,
    cell_corner(cell_index(decimal_latitude, getvariable('cell_deg')), getvariable('cell_deg')) + getvariable('cell_deg') / 2 as latitude,
    count(*) as n
from "rows"
group by all
order by n desc, longitude, latitude
limit 20000
