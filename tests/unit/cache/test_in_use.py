"""What the caches take leases of."""

from retention_pipelines.cache.in_use import LAKE_TABLES
from retention_pipelines.retention.policies.governed import GOVERNED


def test_leases_name_every_table_of_the_lake_that_policies_govern() -> None:
    assert {one.table for one in GOVERNED.values() if one.store == "lake"} == LAKE_TABLES
