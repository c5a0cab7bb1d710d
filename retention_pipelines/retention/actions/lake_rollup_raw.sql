-- What the raw rows of each series, cell and UTC day sum up to, by the rules of series/partials.sql, and how many go.
-- Reads: _rollup_raw (with filename and file_row_number), _retention_gone. Variables: cell_deg, surface_limit_m.
create or replace temp table _rollup_rows as
select
    filename, file_row_number, source_type, dataset_id, variable,
    cell_name(
        cell_index(decimal_latitude, getvariable('cell_deg')),
        cell_index(fold_longitude(decimal_longitude), getvariable('cell_deg')), getvariable('cell_deg')
    ) as location_grid,
    make_timestamp(epoch_us(event_start))::date as day,
    coalesce(coalesce(depth_m, pressure_dbar) <= getvariable('surface_limit_m'), false) as is_surface,
    value, ingested_at,
    gone.filename is not null as goes
from _rollup_raw
left join _retention_gone as gone using (filename, file_row_number)
-- Other rows enter no daily statistic, so nothing proves that a series stands in for them.
where qc_good and value is not null and isfinite(value)
    and make_timestamp(greatest(epoch_us(event_start), epoch_us(event_end) - 1))::date
        = make_timestamp(epoch_us(event_start))::date;

create or replace temp table _rollup_group as
select
    source_type, dataset_id, variable, location_grid, day,
    count(*) as n, fsum(value) as total, fsum(abs(value)) as size, min(value) as smallest, max(value) as largest,
    count(*) filter (where is_surface) as n_surface, fsum(value) filter (where is_surface) as total_surface,
    max(ingested_at) as written_last, count(*) filter (where goes) as n_goes
from _rollup_rows
group by all
having count(*) filter (where goes) > 0;
