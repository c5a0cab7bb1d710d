"""The lake: Delta tables of Parquet that DuckDB writes and reads.

`Lake` opens it, `Table` is one dataset, `publish` shows a consistent state of all of them to people. Nothing here
knows what the rows mean: schemas come from the catalog.
"""

from retention_pipelines.warehouse.lake import Lake
from retention_pipelines.warehouse.table import Commit, LakeFile, Table

__all__ = ["Commit", "Lake", "LakeFile", "Table"]
