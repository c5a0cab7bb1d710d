"""What every feature type computes: values of its columns, how many records they rest on and how good those were."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retention_pipelines.catalog.features import FEATURE_COLUMNS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FeatureValues:
    """Feature values of some studies, one row per study.

    Attributes:
        feature_type: one of the catalog's feature types.
        table: `source_data_id` and every column the type declares.
        support: records that contribute, per row.
        validity: share of them with good QC, per row.
        temporal_window: ISO 8601 duration of the data looked at.
        spatial_resolution: resolution of the values.
    """

    feature_type: str
    table: pa.Table
    support: Floats
    validity: Floats
    temporal_window: str
    spatial_resolution: str

    @property
    def completeness(self) -> Floats:
        """Non-null share of the columns the type declares, per row."""
        columns = FEATURE_COLUMNS[self.feature_type]
        filled = sum(floats(self.table[column.name].is_valid()) for column in columns)
        return np.asarray(filled, dtype=np.float64) / len(columns)


def floats(column: pa.ChunkedArray) -> Floats:
    """A column as doubles, null as NaN."""
    values = column.cast(pa.float64()).to_numpy()
    return np.asarray(values, dtype=np.float64)


def doubles(values: Floats, decimals: int = 6) -> pa.Array:
    """Doubles as a column, NaN as null; rounded, because the last bits depend on the order of sums."""
    return pa.array(np.round(values, decimals) + 0.0, from_pandas=True)
