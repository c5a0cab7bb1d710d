-- The rules of grid.py and period.py for DuckDB; tests compare the two. Temporary, so that they also exist on
-- connections to other database files.

-- Whole turns taken off a longitude; a result that rounding puts on the edge is the edge.
create or replace temp macro without_turns(folded) as
    case when folded >= -180.0 and folded < 180.0 then folded when folded is not null then -180.0 end;

-- Longitude in degrees folded to [-180, 180); one that lies there stays the number it was written as.
create or replace temp macro fold_longitude(lon) as
    case when lon >= -180.0 and lon < 180.0 then lon + 0.0::double
         else without_turns(lon - 360.0::double * floor((lon + 180.0) / 360.0)) end;

-- Number of the cell that holds a coordinate; a coordinate within 1e-9 of an edge is on the edge.
create or replace temp macro cell_index(degrees, cell_deg) as
    case when abs(degrees / cell_deg - round(degrees / cell_deg)) < 1e-9
         then round(degrees / cell_deg)
         else floor(degrees / cell_deg) end::bigint;

-- Lower or left edge of a cell in degrees; never -0.0.
create or replace temp macro cell_corner(cell_number, cell_deg) as round(cell_number * cell_deg, 9) + 0.0;

-- Name of a cell: <lat0>_<lon0>.
create or replace temp macro cell_name(lat_number, lon_number, cell_deg) as
    cell_corner(lat_number, cell_deg)::double::varchar || '_' || cell_corner(lon_number, cell_deg)::double::varchar;

create or replace temp macro location_grid(lat, lon, cell_deg) as
    cell_name(cell_index(lat, cell_deg), cell_index(fold_longitude(lon), cell_deg), cell_deg);

-- Start of the window of an instant. December belongs to the DJF of the next year, so seasons start on the first of
-- December, March, June and September.
create or replace temp macro window_start(instant, time_window) as
    case time_window
        when 'daily' then date_trunc('day', instant)
        when 'weekly' then date_trunc('week', instant)
        when 'monthly' then date_trunc('month', instant)
        when 'seasonal' then date_trunc('quarter', instant + interval 1 month) - interval 1 month
    end;

-- End (exclusive) of the window that starts at an instant.
create or replace temp macro window_end(start_instant, time_window) as
    case time_window
        when 'daily' then start_instant + interval 1 day
        when 'weekly' then start_instant + interval 7 day
        when 'monthly' then start_instant + interval 1 month
        when 'seasonal' then start_instant + interval 3 month
    end;

create or replace temp macro season_name(month_number) as
    case when month_number in (12, 1, 2) then 'DJF' when month_number in (3, 4, 5) then 'MAM'
         when month_number in (6, 7, 8) then 'JJA' when month_number in (9, 10, 11) then 'SON' end;

-- Name of the window that starts at an instant: 2017-08-14, 2017-W32, 2017-08 or 2018-DJF.
create or replace temp macro window_label(start_instant, time_window) as
    case time_window
        when 'daily' then strftime(start_instant, '%Y-%m-%d')
        when 'weekly' then strftime(start_instant, '%G-W%V')
        when 'monthly' then strftime(start_instant, '%Y-%m')
        when 'seasonal' then strftime(start_instant + interval 1 month, '%Y') || '-' || season_name(month(start_instant))
    end;

-- Name of a taxon as published, stripped of white space of any kind; trim() alone leaves tabs and line ends.
create or replace temp macro taxon_name(name) as
    trim(trim(name), ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160));
