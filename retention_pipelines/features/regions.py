"""Climate regions: where which months are wet, dry or upwelling months.

The packaged list is `regions.yaml`, with the source of each statement; `RETENTION_REGIONS_FILE` replaces it.
"""

from importlib.resources import files
from pathlib import Path
from typing import Self

import pyarrow as pa
import shapely
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.polygons import NamedPolygons
from retention_pipelines.features.values import Floats

Month = int


class Region(BaseModel):
    """One region: a box or a polygon, and months 1..12; an empty list of months states nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    source: str = Field(min_length=1, description="Where the months come from.")
    box: tuple[float, float, float, float] | None = Field(default=None, description="west, south, east, north")
    polygon: tuple[tuple[float, float], ...] | None = Field(default=None, description="longitude, latitude pairs")
    wet_months: frozenset[Month] = frozenset()
    dry_months: frozenset[Month] = frozenset()
    upwelling_months: frozenset[Month] = frozenset()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.box is None) == (self.polygon is None):
            raise ValueError(f"region {self.name!r} needs a box or a polygon, not both")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(
                f"the box of region {self.name!r} must be west < east, south < north (use 0..360 across the dateline)"
            )
        for months in (self.wet_months, self.dry_months, self.upwelling_months):
            if not months <= set(range(1, 13)):
                raise ValueError(f"region {self.name!r} has months outside 1..12")
        if self.wet_months & self.dry_months:
            raise ValueError(f"region {self.name!r} has months that are both wet and dry")
        return self

    @property
    def shape(self) -> shapely.Polygon:
        """The region in degrees."""
        return shapely.box(*self.box) if self.box is not None else shapely.Polygon(self.polygon)


class Regions:
    """The configured regions, and which of them holds a position."""

    def __init__(self, regions: list[Region]) -> None:
        self._polygons = NamedPolygons([region.name for region in regions], [region.shape for region in regions])
        by_name = {region.name: region for region in regions}
        if len(by_name) < len(regions):
            raise FeatureError("Two regions have the same name.", hint="Give every region its own name.")
        self.regions = [by_name[name] for name in self._polygons.names]

    def locate(self, latitude: Floats, longitude: Floats) -> pa.Table:
        """For each position climate_region, wet_months, dry_months and upwelling_months; nulls outside all regions."""
        found = [self.regions[i] if i >= 0 else None for i in self._polygons.find(latitude, longitude)]
        months = pa.list_(pa.int64())
        return pa.table(
            {
                "climate_region": pa.array([region and region.name for region in found], pa.string()),
                "wet_months": pa.array([region and sorted(region.wet_months) for region in found], months),
                "dry_months": pa.array([region and sorted(region.dry_months) for region in found], months),
                "upwelling_months": pa.array([region and sorted(region.upwelling_months) for region in found], months),
            }
        )


def load_regions(path: Path | None) -> Regions:
    """The regions of a YAML file, or the packaged ones; raises FeatureError that names what is wrong."""
    try:
        text = (path or files("retention_pipelines.features").joinpath("regions.yaml")).read_text(encoding="utf-8")
        listed = yaml.safe_load(text)["regions"]
        return Regions([Region.model_validate(entry) for entry in listed])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise FeatureError(
            f"The regions file {path} cannot be read: {error}.",
            hint="It needs a list `regions`; the packaged regions.yaml is an example.",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise FeatureError(
            f"The regions file {path} is malformed: {'.'.join(map(str, first['loc']))} {first['msg']}.",
            hint="The packaged regions.yaml is an example.",
        ) from error
