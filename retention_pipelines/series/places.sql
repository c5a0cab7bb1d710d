-- A number for every quantity in a cell, so that merging compares numbers and names a cell once.
-- Reads: series_partial. Variable: cell_deg.
create or replace temp table series_place as
select
    row_number() over ()::integer as place_number,
    source_type, dataset_id, variable, lat_number, lon_number,
    cell_name(lat_number, lon_number, getvariable('cell_deg')) as location_grid,
    getvariable('cell_deg') as cell_deg,
    round(cell_corner(lat_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lat,
    round(cell_corner(lon_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lon
from series_partial
group by source_type, dataset_id, variable, lat_number, lon_number
