"""Telling simulated from real deliveries, and starting over."""

import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.demo.holdings import Holdings, empty_lake, holdings
from retention_pipelines.warehouse import Lake
from tests.unit.demo.test_report import fill, occurrence


def deliver(lake: Lake, path: str, status: str = "ingested", role: str = "records") -> None:
    fill(lake, "ingested_files", {"path": path, "status": status, "role": role, "reasons": "{}"})


@pytest.mark.parametrize(
    ("simulated", "real", "share"), [(0, 0, "none"), (0, 2, "none"), (2, 0, "all"), (1, 1, "some")]
)
def test_the_share_is_told_from_both_numbers(simulated: int, real: int, share: str) -> None:
    assert Holdings(simulated=simulated, real=real).share == share


def test_only_files_that_gave_rows_count_and_their_names_decide(lake: Lake) -> None:
    assert holdings(lake) == Holdings(simulated=0, real=0)
    deliver(lake, "a/simulated_x.csv")
    deliver(lake, "b/simulated_x.nc")
    deliver(lake, "simulated_folder/bottle.csv")
    deliver(lake, "refused.csv", status="refused")
    deliver(lake, "again.csv", status="duplicate")
    deliver(lake, "stations.csv", role="lookup")
    assert holdings(lake) == Holdings(simulated=2, real=1)


def test_an_emptied_lake_has_every_dataset_and_no_row(lake: Lake) -> None:
    fill(lake, "occurrences", occurrence(-12.3, 13.6, "Sardinella aurita"))
    deliver(lake, "simulated_x.csv")
    empty_lake(lake)
    lake.create_views()
    for name in DATASETS:
        assert lake.con.view(name).count("*").fetchall() == [(0,)]
    assert holdings(lake) == Holdings(simulated=0, real=0)
