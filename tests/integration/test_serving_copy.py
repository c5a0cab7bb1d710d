"""The serving copy in a real Postgres: it holds exactly the current windows of the lake, whatever happened before."""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines.period import TimeWindow
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.serving import CURRENT, ServingLoad, load_serving_copy
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.unit.series.raw_rows import observe, utc

COLUMNS = (
    "source_type, dataset_id, variable, layer, location_grid, cell_deg, center_lat, center_lon, time_window, "
    "window_label, window_start, window_end, n, mean, std, min, max, surface_limit_m"
)
DATASET, WINDOW, LABEL, START = 1, 8, 9, 10


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def other_lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake(load_settings({}, lake_root=str(tmp_path / "other"), state_dir=tmp_path / "other_state")) as lake:
        yield lake


def day(number: int, value: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"event_start": utc("2017-01-01T06:00") + timedelta(days=number), "value": value, **more}


def rows_of(server: Server, what: str = COLUMNS) -> list[tuple[Any, ...]]:
    with connect(server, role="readonly") as con:
        return con.execute(f"select {what} from bi.aggregated_time_series order by 1, 2, 3, 4, 5, 9, 11").fetchall()


def current_rows(lake: Lake) -> list[tuple[Any, ...]]:
    """The definition in plain Python, over every row of the lake."""
    rows = lake.con.execute(f"select {COLUMNS} from {lake.table('aggregated_time_series').scan()}").fetchall()
    starts: dict[tuple[str, str, str], set[datetime]] = {}
    for row in rows:
        starts.setdefault((row[0], row[DATASET], row[WINDOW]), set()).add(row[START])
    newest = {key: set(sorted(found)[-CURRENT[TimeWindow(key[2])] :]) for key, found in starts.items()}
    kept = [row for row in rows if row[START] in newest[row[0], row[DATASET], row[WINDOW]]]
    return sorted(kept, key=lambda row: (*row[:5], row[WINDOW], row[START]))


def load(lake: Lake, server: Server, **options: bool) -> ServingLoad:
    done = load_serving_copy(lake, server, **options)
    assert rows_of(server) == current_rows(lake)
    assert done.rows_held == len(rows_of(server))
    return done


def add(lake: Lake, rows: Sequence[dict[str, Any]]) -> None:
    """Observations, and the series brought up to date with the months they touch."""
    observe(lake, rows)
    update_series(lake, months={f"{row['event_start']:%Y-%m}" for row in rows})


def test_the_copy_holds_exactly_the_current_windows_and_only_what_changed_is_written(
    lake: Lake, migrated_server: Server
) -> None:
    add(lake, [day(number, number % 7) for number in range(0, 1500, 2)])
    add(lake, [day(number, 3.0, dataset_id='ended, "long" ago') for number in range(60)])
    first = load(lake, migrated_server)
    assert (first.how, first.rows_written) == ("everything", first.rows_held)
    labels = {(row[DATASET], row[WINDOW]): row[LABEL] for row in rows_of(migrated_server)}
    assert labels['ended, "long" ago', "daily"] == "2017-03-01"
    again = load(lake, migrated_server)
    assert (again.how, again.rows_written, again.rows_removed) == ("unchanged", 0, 0)

    add(lake, [day(1502, 9.0), day(1502, 5.0, decimal_latitude=-9.6)])
    newer = load(lake, migrated_server)
    assert newer.how == "changed"
    # The new day in four windows and two layers; the oldest day left, and the week it opened pushed one out.
    assert 0 < newer.rows_written < 40
    assert 0 < newer.rows_removed < 20

    add(lake, [day(100, 50.0)])  # a late row of a window that is not current any more
    assert load(lake, migrated_server).rows_written == 0
    with connect(migrated_server, role="readonly") as con:
        stamps = con.execute("select count(distinct refreshed_at) from aggregated_time_series").fetchall()
    assert stamps == [(2,)]


def test_windows_become_current_again_when_newer_ones_are_taken_away(lake: Lake, migrated_server: Server) -> None:
    add(lake, [day(number) for number in range(40)])
    load(lake, migrated_server)
    lake.table("observations").delete(f"event_start >= timestamptz '{utc('2017-02-05T00:00'):%Y-%m-%d}'", op="test")
    update_series(lake, months=["2017-02"])
    assert load(lake, migrated_server).rows_removed > 0
    assert min(row[LABEL] for row in rows_of(migrated_server) if row[WINDOW] == "daily") == "2017-01-05"


def test_another_lake_another_cell_size_and_an_empty_lake_replace_everything(
    lake: Lake, other_lake: Lake, migrated_server: Server
) -> None:
    add(lake, [day(number) for number in range(3)])
    load(lake, migrated_server)
    add(other_lake, [day(number, dataset_id="other") for number in range(5)])
    assert load(other_lake, migrated_server).how == "everything"
    assert load(lake, migrated_server).how == "everything"
    coarse = load_settings({}, lake_root=lake.root, state_dir=lake.settings.state_dir, cell_deg=1.0)
    with Lake(coarse) as reopened:
        update_series(reopened)
        load(reopened, migrated_server)
    assert {row[5] for row in rows_of(migrated_server)} == {1.0}
    assert load(lake, migrated_server, full=True).how == "everything"


def test_a_lake_without_a_series_leaves_an_empty_copy(lake: Lake, migrated_server: Server) -> None:
    assert load_serving_copy(lake, migrated_server).rows_held == 0
    assert rows_of(migrated_server) == []


def test_readers_see_one_state_or_the_other_while_it_is_replaced(
    lake: Lake, other_lake: Lake, migrated_server: Server
) -> None:
    add(lake, [day(number, dataset_id="one") for number in range(20)])
    add(other_lake, [day(number, dataset_id="two") for number in range(9)])
    whole = {}
    for name, one in (("one", lake), ("two", other_lake)):
        whole[name] = load(one, migrated_server).rows_held
    seen: list[tuple[str, int]] = []
    over = threading.Event()

    def look() -> None:
        with connect(migrated_server, role="readonly", autocommit=True) as con:
            while not over.is_set():
                seen.extend(
                    con.execute(
                        "select string_agg(distinct dataset_id, ' '), count(*) from bi.aggregated_time_series"
                    ).fetchall()
                )

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(5):
        load_serving_copy(lake, migrated_server)
        load_serving_copy(other_lake, migrated_server)
    over.set()
    reader.join()
    assert seen
    assert set(seen) <= set(whole.items())
