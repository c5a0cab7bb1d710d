"""Training sets across processes, crashes, full disks and Postgres's absence."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from retention_pipelines import FeatureStore, cache_training_data
from retention_pipelines.cache import runtime
from retention_pipelines.cache.training.answers import sets_of
from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.cache.training.value import TrainingSet
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.integration.training_worker import expected, prepare
from tests.unit.features.conftest import append_rows
from tests.unit.features.test_store import at, row

N = 4_000


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def caches(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Configures the caches; they are closed at the end."""
    yield runtime.configure
    runtime.close()


def worker(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    # Imported, not run as a script: the function's module is part of its keys.
    run = "from tests.integration.training_worker import main; main()"
    command = [sys.executable, "-c", run, settings.model_dump_json(), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_four_processes_of_twenty_threads_prepare_a_set_once(settings: Settings, tmp_path: Path) -> None:
    """S16: 50 concurrent callers on one cold key ran the function 50 times. Here without Postgres."""
    note, start = tmp_path / "runs", tmp_path / "start"
    workers = [worker(settings, "once", str(note), str(start)) for _ in range(4)]
    time.sleep(2.0)
    start.touch()
    answers = [one.communicate(timeout=120)[0].split() for one in workers]
    assert answers == [["right"]] * 4
    assert note.read_text() == "x"
    assert not list((settings.training_sets_dir / settings.tenant / "turns").iterdir())


def test_a_killed_preparer_lets_the_next_one_have_its_turn(settings: Settings, tmp_path: Path, caches: Any) -> None:
    caches(settings)
    note, start = tmp_path / "runs", tmp_path / "start"
    start.touch()
    killed = worker(settings, "once", str(note), str(start))
    while not note.exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    x, _ = prepare(5, str(note))
    np.testing.assert_array_equal(x, expected(5))
    assert note.read_text() == "xx"


def test_kill_9_at_any_moment_leaves_whole_sets_or_none(settings: Settings) -> None:
    chance = random.Random(7)
    sets = TrainingSets(settings)
    hits = 0
    for _ in range(4):
        writer = worker(settings, "loop")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for seed in range(3):
            found = sets.find(prepare.key(seed))
            if found is not None:
                hits += 1
                np.testing.assert_array_equal(found.value[0], expected(seed))
        assert sets.verify() == []
    assert hits > 0
    assert sets.counters.snapshot().get(("training", "corrupt", "files"), 0) == 0
    sets.clean(safe_age_seconds=-1.0)
    left = {entry.name for entry in (sets.root / "files").iterdir()}
    assert not {name for name in left if name.startswith("new-")}
    assert all(sets.find(entry.name) is not None for entry in (sets.root / "sets").iterdir())
    runtime.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root and the command mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"mounting a small tmpfs was refused: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_costs_the_cache_a_set_and_nobody_else(
    small_disk: Path, tmp_path: Path, caches: Any, caplog: pytest.LogCaptureFixture
) -> None:
    used = caches(load_settings({}, lake_root=str(small_disk / "warehouse"), state_dir=tmp_path / "state"))
    runs = []

    @cache_training_data("habitat")
    def own(rows: int) -> np.ndarray:
        runs.append(rows)
        return np.random.default_rng(rows).random((rows, 10))

    small, large = 20_000, 90_000
    own(small)
    for _ in range(2):
        np.testing.assert_array_equal(own(large), np.random.default_rng(large).random((large, 10)))
    assert used.counters.snapshot()["training", "dropped", "files"] == 2
    assert "disk is full" in caplog.text
    np.testing.assert_array_equal(own(small), np.random.default_rng(small).random((small, 10)))
    assert runs == [small, large, large]
    files = list((small_disk / "warehouse/_training_sets/local/files").iterdir())
    assert len(files) == 1, "nothing is left of what did not fit"


def row_of(server: Server, key: str) -> dict[str, Any]:
    with psycopg.connect(address.conninfo(server.address())) as con:
        cursor = con.execute("select * from public.ml_training_cache where cache_key = %s", (key,))
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows = cursor.fetchall()
    assert len(rows) == 1
    return dict(zip(names, rows[0], strict=True))


def test_the_row_in_postgres_tells_all_about_a_set(database: Server, database_settings: Settings, caches: Any) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    used = caches(database_settings)

    @cache_training_data(
        "habitat", version="7", depends_on=["feature_store"], tags=["weekly"], provenance={"licences": ["CC-BY 4.0"]}
    )
    def own(seed: int, frame: np.ndarray) -> TrainingSet:
        x = np.random.default_rng(seed).normal(size=(N, 2))
        y = np.where(x[:, 0] > 0, "reef", "bay")
        scale = make_pipeline(StandardScaler()).fit(x)
        return TrainingSet(
            X=scale.transform(x[:3000]),
            y=y[:3000],
            X_val=scale.transform(x[3000:]),
            y_val=y[3000:],
            feature_names=["depth_m", 'a "quoted", {name}\0'],
            pipeline=scale,
        )

    own(1, np.zeros((5, 5)))
    key = own.key(1, np.zeros((5, 5)))
    row = row_of(database, key)
    sets = sets_of(used)
    assert sets is not None
    found = sets.find(key)
    assert found is not None
    x = np.random.default_rng(1).normal(size=(N, 2))
    assert row["tenant"] == "local"
    assert row["model_type"] == "habitat"
    assert row["model_version"] == row["code_version"] == "7"
    assert row["function"].endswith("own")
    assert row["tags"] == ["weekly"]
    assert row["parameters"] == {"seed": 1, "frame": [[0.0] * 5] * 5}
    assert row["data_versions"] == {"feature_store": -1}
    assert row["feature_names"][0] == "depth_m"
    assert row["feature_names"][1].startswith('a "quoted", {name}')
    step = row["preprocessing"]["steps"][0]
    assert step["type"] == "sklearn.StandardScaler"
    assert step["learned"]["mean_"] == pytest.approx(x.mean(axis=0).tolist())
    share = float((x[:, 0] > 0).mean())
    assert row["class_distribution"] == pytest.approx({"reef": share, "bay": 1 - share})
    assert row["provenance"] == {"licences": ["CC-BY 4.0"]}
    assert (row["n_rows"], row["n_features"], row["validation_share"]) == (N, 2, 0.25)
    assert row["files"] == f"local/sets/{key}"
    assert (database_settings.training_sets_dir / row["files"]).is_file()
    assert row["content_sha256"].hex() == found.content_sha256
    assert row["size_bytes"] == found.size_bytes > 0
    assert row["compute_seconds"] == pytest.approx(found.compute_seconds)
    assert row["quality_score"] is None
    assert row["invalidated_at"] is None
    assert (row["expires_at"] - row["computed_at"]).total_seconds() == pytest.approx(168 * 3600)
    assert abs((row["computed_at"] - found.computed_at).total_seconds()) < 5
    own.invalidate(1, np.zeros((5, 5)))
    assert row_of(database, key)["invalidated_at"] is not None
    own(1, np.zeros((5, 5)))
    assert row_of(database, key)["invalidated_at"] is None


def test_a_value_of_unknown_form_has_a_row_without_numbers(
    database: Server, database_settings: Settings, caches: Any
) -> None:
    caches(database_settings)

    @cache_training_data("habitat")
    def own() -> dict[str, Any]:
        return {"left": np.zeros((N, 3)), "right": [1]}

    own()
    row = row_of(database, own.key())
    assert (row["n_rows"], row["n_features"], row["validation_share"]) == (None, None, None)
    assert row["class_distribution"] == row["preprocessing"] == {}
    assert row["feature_names"] == []


def test_hits_are_counted_beside(database: Server, database_settings: Settings, caches: Any) -> None:
    used = caches(database_settings)

    @cache_training_data("habitat")
    def own() -> np.ndarray:
        return np.zeros((N, 3))

    for _ in range(4):
        own()
    used.flush()
    with psycopg.connect(address.conninfo(database.address())) as con:
        hits = con.execute("select hits from public.access_counts where key = %s", (own.key(),)).fetchall()
    assert hits == [(3,)]


def test_an_invalidation_that_only_postgres_knows_of_counts_within_a_second(
    database: Server, database_settings: Settings, caches: Any
) -> None:
    """As where the lake is remote and each machine has files of its own."""
    used = caches(database_settings)
    runs = []

    @cache_training_data("habitat", tags=["weekly"])
    def own() -> np.ndarray:
        runs.append(1)
        return np.zeros((N, 3))

    own(), own()
    assert len(runs) == 1
    with psycopg.connect(address.conninfo(database.address())) as con:
        con.execute("insert into public.invalidation_log (tenant, scope, target) values ('local', 'tag', 'monthly')")
        con.execute("insert into public.invalidation_log (tenant, scope, target) values ('other', 'tag', 'weekly')")
        con.execute("insert into public.invalidation_log (scope, target, version) values ('model', 'habitat', '2')")
    time.sleep(1.2)
    own()
    assert len(runs) == 1, "another tag, another tenant, another version of the model"
    with psycopg.connect(address.conninfo(database.address())) as con:
        con.execute("insert into public.invalidation_log (tenant, scope, target) values ('local', 'tag', 'weekly')")
    time.sleep(1.2)
    own(), own()
    assert len(runs) == 2
    assert ("training", "degraded", "postgres") not in used.counters.snapshot()


def test_files_suffice_while_postgres_is_away(settings: Settings, caches: Any) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:9/none")})
    used = caches(away)
    runs = []

    @cache_training_data("habitat")
    def own() -> np.ndarray:
        runs.append(1)
        return np.arange(N * 3.0).reshape(N, 3)

    for _ in range(3):
        np.testing.assert_array_equal(own(), np.arange(N * 3.0).reshape(N, 3))
    own.invalidate()
    own(), own()
    assert len(runs) == 2
    assert used.counters.snapshot()["training", "degraded", "postgres"] > 0


def test_what_is_read_through_the_feature_store_invalidates_the_set(settings: Settings, caches: Any) -> None:
    used = caches(settings)
    runs = []

    @cache_training_data("habitat")
    def own(study: str) -> np.ndarray:
        runs.append(1)
        with Lake(settings) as inner:
            asked = [{"source_data_id": study, "event_timestamp": at(9)}]
            frame = FeatureStore(inner).training_frame(asked, ["environmental.temperature_degc"])
        return frame["temperature_degc"].to_numpy()

    with Lake(settings) as lake:
        append_rows(lake, "feature_store", [row(event=3, value=15.0)])
        assert own("s/1").tolist() == own("s/1").tolist() == [15.0]
        assert len(runs) == 1
        sets = sets_of(used)
        assert sets is not None
        found = sets.find(own.key("s/1"))
        assert found is not None
        assert found.lake_versions == {"feature_store": lake.table("feature_store").version()}
        append_rows(lake, "feature_store", [row(event=4, value=16.0)])
        time.sleep(1.1)
        assert own("s/1").tolist() == own("s/1").tolist() == [16.0]
        assert len(runs) == 2


def test_a_set_prepared_from_a_cached_one_is_built_from_its_tables(settings: Settings, caches: Any) -> None:
    caches(settings)

    @cache_training_data("base")
    def base() -> np.ndarray:
        with Lake(settings) as inner:
            frame = inner.con.sql(f"select temperature_degc from {inner.table('feature_store').scan()}")
            return frame.to_arrow_table()["temperature_degc"].to_numpy()

    @cache_training_data("habitat")
    def own(scale: float) -> np.ndarray:
        return base() * scale

    @cache_training_data("habitat")
    async def own_async(scale: float) -> np.ndarray:
        return base() * scale

    with Lake(settings) as lake:
        append_rows(lake, "feature_store", [row(event=3, value=15.0)])
        base()
        assert own(2.0).tolist() == asyncio.run(own_async(2.0)).tolist() == [30.0]
        append_rows(lake, "feature_store", [row(event=4, value=16.0)])
        time.sleep(1.1)
        assert sorted(own(2.0).tolist()) == sorted(asyncio.run(own_async(2.0)).tolist()) == [30.0, 32.0]
