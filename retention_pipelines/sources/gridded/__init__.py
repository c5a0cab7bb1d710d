"""CF NetCDF: grids, and series or tracks whose variables have positions and times as coordinates.

`coordinates.py` finds which coordinate is which, `variables.py` the quantities and their flags, `reader.py` turns
blocks of them into staging tables. Argo profiles are `argo.py`'s.
"""

from retention_pipelines.sources.gridded.reader import GriddedReader

__all__ = ["GriddedReader"]
