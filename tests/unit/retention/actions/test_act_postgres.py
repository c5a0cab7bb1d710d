"""How many rows a batch of removing takes."""

from datetime import date

import numpy as np
import pytest

from retention_pipelines.retention.actions.act_postgres import _FEWEST, _FIRST, _MOST, Pace
from retention_pipelines.retention.actions.due_postgres import Chunk


def chunk(rows: int, blocks: int) -> Chunk:
    return Chunk(places=np.arange(rows), day=date(2026, 1, 1), relation=1, blocks=blocks)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.015, 3600.0])
@pytest.mark.parametrize("given", [chunk(1, 1), chunk(1, 5000), chunk(9000, 1), chunk(9000, 100), chunk(9000, 0)])
def test_batches_end_and_reach_every_block_once_however_long_they_take(seconds: float, given: Chunk) -> None:
    pace, reached = Pace(), 0
    for first, last in pace.pieces(given):
        assert first == reached < last
        reached = last
        pace.took(seconds)
        assert _FEWEST <= pace.rows <= _MOST
    assert reached >= given.extent


def test_a_batch_is_twice_the_last_one_at_most_and_not_because_the_rest_of_a_partition_was_soon_done() -> None:
    pace = Pace()
    for _ in pace.pieces(chunk(10, 10)):
        pace.took(0.001)
    assert pace.rows == _FIRST
    for first, _ in pace.pieces(chunk(1500, 150)):
        pace.took(0.001)
        assert (first, pace.rows) in {(0, 2 * _FIRST), (100, 2 * _FIRST)}
    for _ in pace.pieces(chunk(10, 10)):
        pace.took(10.0)
    assert pace.rows == _FEWEST
