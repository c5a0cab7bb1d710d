-- One row per study (sampling event) of a batch of months: where, when, how deep, from how many records.
-- Inputs: _occurrence_records, _observation_records (all records of the studies); variable cell_deg.
-- Positions are rounded to 1e-6 degree (0.1 m) and depths to 1e-3 m: sums of doubles depend on the order of rows, and
-- unchanged data must give unchanged features.
create or replace temp table _study as
with records as (
    select dataset_id, event_id, 'occurrences' as source_table, event_start, event_end, date_precision,
           decimal_latitude as lat, decimal_longitude as lon,
           minimum_depth_in_meters as min_depth, maximum_depth_in_meters as max_depth, bottom_depth_m,
           coordinate_uncertainty_in_meters as uncertainty_m
    from _occurrence_records
    where source_type <> 'grid'
    union all by name
    select dataset_id, event_id, 'observations' as source_table, event_start, event_end, date_precision,
           decimal_latitude as lat, decimal_longitude as lon,
           depth_m as min_depth, depth_m as max_depth, bottom_depth_m,
           null::double as uncertainty_m
    from _observation_records
    where source_type <> 'grid'
),
grouped as (
    select dataset_id, event_id,
           -- A study in both tables is one study, and counts as an occurrence study.
           max(source_table) filter (source_table = 'occurrences') is not null as has_occurrences,
           min(event_start) as event_time, max(event_end) as event_end, max(event_start) as last_start,
           min(case date_precision when 'year' then 0 when 'month' then 1 when 'interval' then 2 when 'day' then 3 else 4 end)
               as coarsest,
           max(case when date_precision in ('day', 'time') then event_start else event_end end) as known_at,
           max(case when date_precision in ('day', 'time') then 0 else epoch(event_end) - epoch(event_start) end) as longest,
           min(lat) as min_lat, max(lat) as max_lat, min(lon) as min_lon, max(lon) as max_lon, avg(lat) as mean_lat,
           avg(lon) as mean_lon, avg(case when lon < 0 then lon + 360 else lon end) as mean_lon_360,
           max(lon) filter (lon < 0) as last_west, min(lon) filter (lon >= 0) as first_east,
           round(min(coalesce(min_depth, max_depth)), 3) as minimum_depth_m,
           round(max(coalesce(max_depth, min_depth)), 3) as maximum_depth_m,
           round(avg(bottom_depth_m), 3) as sea_floor_depth_m,
           max(uncertainty_m) as uncertainty_m,
           count(*) as n_records
    from records
    group by dataset_id, event_id
),
placed as (
    select *,
           round(mean_lat, 6) + 0.0 as latitude,
           -- Across the dateline the short way round is taken: average on 0..360 and fold back.
           round(case when max_lon - min_lon > 180 then fold_longitude(mean_lon_360)
                      else mean_lon end, 6) + 0.0 as mean_longitude,
           case when max_lon - min_lon > 180 then 360 + last_west - first_east else max_lon - min_lon end as lon_span
    from grouped
)
select dataset_id || '/' || event_id as source_data_id, dataset_id, event_id,
       case when has_occurrences then 'occurrences' else 'observations' end as source_table,
       event_time, event_end, last_start, known_at,
       case coarsest when 0 then 'year' when 1 then 'month' when 2 then 'interval' when 3 then 'day' else 'time' end
           as date_precision,
       longest as longest_interval_seconds,
       latitude,
       case when mean_longitude >= 180 then mean_longitude - 360 else mean_longitude end as longitude,
       location_grid(latitude, mean_longitude, getvariable('cell_deg')) as location_grid,
       cell_corner(cell_index(latitude, getvariable('cell_deg')), getvariable('cell_deg'))::double as cell_lat0,
       cell_corner(cell_index(fold_longitude(mean_longitude), getvariable('cell_deg')), getvariable('cell_deg'))::double
           as cell_lon0,
       minimum_depth_m, maximum_depth_m, sea_floor_depth_m, uncertainty_m,
       -- Radius around the middle of the study's own positions, in metres: half the diagonal of their box.
       111195.0 * sqrt(power(max_lat - min_lat, 2) + power(lon_span * cos(radians(latitude)), 2)) / 2 as spread_m,
       n_records,
       strftime(event_time, '%Y-%m') as month
from placed
order by source_data_id;
