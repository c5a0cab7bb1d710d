"""Monthly surface temperature of the region on a grid, as a CF NetCDF file in kelvin with longitudes 0-360."""

from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.labels import CITATION, LICENCE, NOTICE
from retention_pipelines.demo.ocean import Ocean

NAME = "simulated_angola_sst_monthly.nc"
FILL = np.float32(1e20)


@dataclass(frozen=True, kw_only=True)
class GridFile:
    """What was written; `points` counts values in the sea, `land` the missing ones."""

    path: Path
    points: int
    land: int


def write_grid(ocean: Ocean, rng: np.random.Generator, folder: Path) -> GridFile:
    """Means of four days a month at 1 degree, 3 W to 14 E."""
    latitude = np.arange(-17.5, -5.0, 1.0)
    longitude = np.concatenate([np.arange(0.5, 14.0, 1.0), np.arange(357.5, 360.0, 1.0)])
    folded = (longitude + 180) % 360 - 180
    start = np.array([np.datetime64(f"{sea.FIRST_YEAR + m // 12}-{m % 12 + 1:02d}-01") for m in range(12 * sea.YEARS)])
    first = (start - np.datetime64(sea.EPOCH.date())).astype(float)
    grid_latitude, grid_longitude = np.meshgrid(latitude, folded, indexing="ij")
    values = np.empty((first.size, latitude.size, longitude.size))
    for month, day in enumerate(first):
        days = [ocean.surface_temperature(grid_latitude, grid_longitude, np.full(grid_latitude.shape, day + d))
                for d in (3.5, 11.5, 18.5, 26.5)]  # fmt: skip
        values[month] = np.mean(days, axis=0)
    kelvin = values + rng.normal(0, 0.08, values.shape) + 273.15
    is_land = np.broadcast_to(sea.offshore_km(grid_latitude, grid_longitude) < 0, values.shape)
    path = folder / NAME
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.setncatts(
            {
                "title": "SIMULATED monthly sea surface temperature, Angola-Benguela (not observations)",
                "comment": NOTICE,
                "license": LICENCE,
                "citation": CITATION,
                "id": NAME.removesuffix(".nc"),
                "Conventions": "CF-1.10",
            }
        )
        middle = first + 14.5
        for name, content, attributes in (
            ("time", middle, {"units": f"days since {sea.EPOCH:%Y-%m-%d} 00:00:00", "calendar": "standard", "axis": "T",
                              "standard_name": "time", "bounds": "time_bnds"}),
            ("latitude", latitude, {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}),
            ("longitude", longitude, {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}),
        ):  # fmt: skip
            file.createDimension(name, content.size)
            variable = file.createVariable(name, "f8", (name,))
            variable.setncatts(attributes)
            variable[:] = content
        file.createDimension("bnds", 2)
        bounds = file.createVariable("time_bnds", "f8", ("time", "bnds"))
        bounds[:] = np.column_stack([first, np.append(first[1:], float(sea.DAYS))])
        variable = file.createVariable("sst", "f4", ("time", "latitude", "longitude"), fill_value=FILL)
        variable.setncatts(
            {
                "standard_name": "sea_surface_temperature",
                "long_name": "SIMULATED sea surface temperature",
                "units": "K",
                "cell_methods": "time: mean",
            }
        )
        variable[:] = np.where(is_land, FILL, kelvin).astype(np.float32)
    return GridFile(path=path, points=int((~is_land).sum()), land=int(is_land.sum()))
