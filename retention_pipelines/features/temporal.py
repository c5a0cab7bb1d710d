"""Temporal features: when a study was, at the precision its source wrote, and in which season of its region."""

import numpy as np
import pyarrow as pa

from retention_pipelines.features.regions import Regions
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.features.values import FeatureValues, floats
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import statement


def temporal_features(lake: Lake, studies: pa.Table, regions: Regions) -> FeatureValues:
    """Temporal features of loaded studies; a part of the date that the source did not write is null, never guessed."""
    placed = regions.locate(floats(studies["latitude"]), floats(studies["longitude"]))
    lake.con.register("_study_region", placed.append_column("source_data_id", studies["source_data_id"]))
    try:
        table = lake.con.sql(statement(PACKAGE, "temporal")).to_arrow_table()
    finally:
        lake.con.unregister("_study_region")
    return FeatureValues(
        feature_type="temporal",
        table=table,
        support=floats(studies["n_records"]),
        validity=np.ones(studies.num_rows),
        temporal_window="PT0S",
        spatial_resolution="point",
    )
