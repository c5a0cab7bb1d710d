-- Pressures and latitudes of rows, as numbers.
select source_row, measured_number(pressure) as pressure, measured_number(decimal_latitude) as latitude
from erddap_rows
