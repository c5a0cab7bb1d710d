-- The five cells with the most taxa over all time, from presence records; variable cell_deg is the size of a cell.
with present as (
    select location_grid(decimal_latitude, decimal_longitude, getvariable('cell_deg')) as location_grid,
           trim(scientific_name) as taxon
    from occurrences
    where occurrence_status = 'present' and not is_subtotal and scientific_name is not null
),
taxa as (
    select location_grid, taxon, count(*) as n from present group by all
)
select location_grid, count(*) as richness, sum(n)::bigint as n_records,
       arg_max(taxon, (n, taxon)) as commonest, max(n) as commonest_records
from taxa
group by location_grid
order by richness desc, n_records, location_grid
limit 5
