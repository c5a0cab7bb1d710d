-- Diversity of the touched windows from records and from abundance.
-- Reads: source, touched_window, window_day. Variable: cell_deg.
with record as (
    select
        dataset_id,
        cell_index(decimal_latitude, getvariable('cell_deg'))::integer as lat_number,
        cell_index(fold_longitude(decimal_longitude), getvariable('cell_deg'))::integer as lon_number,
        make_timestamp(epoch_us(event_start))::date as first_day,
        make_timestamp(greatest(epoch_us(event_start), epoch_us(event_end) - 1))::date as last_day,
        taxon_name(scientific_name) as taxon,
        count(*) as n_records,
        count(*) filter (abundance > 0 and isfinite(abundance)) as n_counted,
        fsum(abundance) filter (abundance > 0 and isfinite(abundance)) as abundance
    from source
    where occurrence_status = 'present' and not is_subtotal and taxon_name(scientific_name) != ''
    group by all
),
taxon_total as (
    select dataset_id, lat_number, lon_number, window_number, taxon,
        sum(n_records)::bigint as n_records, sum(n_counted)::bigint as n_counted, fsum(abundance) as abundance
    from record as r
    join window_day as d on d.day = r.first_day and r.last_day < d.end_day
    group by all
),
count_of as (
    select dataset_id, 'records' as basis, lat_number, lon_number, window_number, taxon,
        n_records, n_records::double as n_i
    from taxon_total
    union all
    select dataset_id, 'abundance', lat_number, lon_number, window_number, taxon,
        n_counted, abundance
    from taxon_total
    where abundance > 0
),
community as (
    select dataset_id, basis, lat_number, lon_number, window_number,
        sum(n_records)::bigint as n_records, fsum(n_i) as total, count(*) as richness,
        arg_min(taxon, (-n_i, taxon)) as dominant_taxon, max(n_i) as largest
    from count_of
    group by all
),
index_of as (
    select dataset_id, basis, lat_number, lon_number, window_number,
        -- One taxon has p = 1 and ln p = 0: greatest() only turns -0.0 into 0.
        greatest(0.0, -fsum(n_i / total * ln(n_i / total))) as shannon,
        fsum((n_i / total) ** 2) as simpson_d
    from count_of
    join community using (dataset_id, basis, lat_number, lon_number, window_number)
    group by all
)
select
    dataset_id, basis,
    cell_name(lat_number, lon_number, getvariable('cell_deg')) as location_grid,
    getvariable('cell_deg') as cell_deg,
    round(cell_corner(lat_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lat,
    round(cell_corner(lon_number, getvariable('cell_deg')) + getvariable('cell_deg') / 2, 9) as center_lon,
    time_window, window_label, window_start, window_end,
    n_records, total, richness, shannon, simpson_d,
    1 - simpson_d as gini_simpson,
    1 / simpson_d as inverse_simpson,
    if(richness < 2, null, shannon / ln(richness)) as pielou,
    dominant_taxon,
    largest / total as dominant_share,
    year
from community
join index_of using (dataset_id, basis, lat_number, lon_number, window_number)
join touched_window using (window_number)
