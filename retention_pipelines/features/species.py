"""Species features: how many taxa a study found, how evenly, which one dominates, which shares are flagged.

Absences, subtotals and records without a name never count. Only studies with occurrence records have a row.
"""

import numpy as np

from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.features.traits import FLAGS, Traits
from retention_pipelines.features.values import FeatureValues, floats
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import set_variables, statement


def species_features(lake: Lake, traits: Traits) -> FeatureValues:
    """Species features of the loaded occurrence studies."""
    con = lake.con
    con.register("_traits", traits.table)
    set_variables(con, **{f"has_{flag}": flag in traits.stated for flag in FLAGS})
    try:
        table = con.sql(statement(PACKAGE, "species")).to_arrow_table()
    finally:
        con.unregister("_traits")
    return FeatureValues(
        feature_type="species",
        table=table,
        support=floats(table["n_records"]),
        validity=np.ones(table.num_rows),
        temporal_window="PT0S",
        spatial_resolution="point",
    )
