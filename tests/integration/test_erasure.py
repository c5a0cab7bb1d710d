"""Erasure orders on a real lake and a real Postgres: nothing of the subject is left, and it does not come back."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres import audit
from retention_pipelines.retention.erasure import Certificate, Eraser, eraser
from retention_pipelines.retention.holds import place_hold, release_hold
from retention_pipelines.retention.run import runner
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.erasure import PEOPLE, STUDIES, buoys, compute, deliver, places_of, take
from tests.fixtures.retention import add_predictions

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
STUDY = f"survey/{STUDIES[0]}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a lake that was filled and computed."""
    folder = tmp_path_factory.mktemp("filled")
    with Lake(load_settings({}, lake_root=str(folder / "lake"), state_dir=folder / "state")) as lake:
        take(lake, deliver(folder), buoys(folder))
        compute(lake)
    return folder / "lake"


@pytest.fixture
def erasing(database_settings: Settings, filled: Path) -> Iterator[Eraser]:
    """An eraser over a copy of that lake."""
    shutil.copytree(filled, database_settings.lake_root, symlinks=True)
    with eraser(database_settings) as opened:
        yield opened


def erase(erasing: Eraser, kind: str, value: str) -> Certificate:
    return erasing.confirm(erasing.preview(kind, value, reason="Asked for.").sha256)


def count(erasing: Eraser, table: str, where: str = "true") -> int:
    found = erasing.planner.lake.table(table)
    return int(found.con.execute(f"select count(*) from {found.scan()} where {where}").fetchall()[0][0])


def test_a_study_is_erased_from_every_tier_and_does_not_come_back(
    erasing: Eraser, tmp_path: Path, everyone: psycopg.Connection[Any]
) -> None:
    everyone.execute("insert into work_queue (tenant, kind, subject) values ('local', 'study', %s)", (STUDY,))
    everyone.execute("insert into access_counts values ('local', 'feature_store', %s, 3, now())", (f"{STUDY}:species",))
    before = count(erasing, "occurrences")
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    assert (preview.counts["lake occurrences"], preview.counts["lake quarantine"]) == (2, 1)
    assert preview.counts["lake feature_store"] == 4
    assert count(erasing, "occurrences") == before
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.left, found.held) == ("done", {}, {})
    assert count(erasing, "occurrences") == before - 2
    assert places_of(erasing.settings, STUDIES[0], STUDY) == []
    for (table,) in everyone.execute(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    ).fetchall():
        rows = everyone.execute(f'select t::text from "{table}" as t').fetchall()  # type: ignore[arg-type]
        assert not [row for row in rows if "haul-Ä" in row[0]], table
    assert audit.verify(everyone).holds
    # Again: a new delivery of the same rows, and a second order for the same subject.
    again = take(erasing.planner.lake, deliver(tmp_path, name="survey_2018.csv", latitude=38.6))
    assert again.files[0].reasons == {"erased": 3}
    assert again.read == again.accepted + again.quarantined + again.duplicates == 9
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 0
    assert places_of(erasing.settings, STUDIES[0]) == []
    assert erase(erasing, "study", STUDY).state == "done"


def test_the_ledger_still_adds_up_after_an_erasure(erasing: Eraser) -> None:
    assert erase(erasing, "taxon", "gadus MORHUA").state == "done"
    table = erasing.planner.lake.table("ingested_files")
    lines = table.con.sql(f"from {table.scan()}").filter("path like '%survey.csv'")
    assert lines.select("read", "accepted", "quarantined", "duplicates", "values").fetchall() == [(4, 4, 0, 0, 4)]
    assert count(erasing, "occurrences") == 4


def test_a_taxon_goes_and_what_it_was_counted_in_is_computed_again(erasing: Eraser) -> None:
    assert count(erasing, "biodiversity_statistics", "richness = 2") > 0
    assert erase(erasing, "taxon", "Gadus").state == "done"
    assert count(erasing, "biodiversity_statistics", "richness = 2") == 0
    assert count(erasing, "biodiversity_statistics", "richness = 1") > 0
    assert count(erasing, "feature_store", "feature_type = 'species' and richness <> 1") == 0
    assert count(erasing, "feature_store", "feature_type = 'species'") == 4
    assert places_of(erasing.settings, "Gadus") == []


def test_a_contributor_goes_from_rows_of_several_people_and_from_citations(erasing: Eraser, tmp_path: Path) -> None:
    found = erase(erasing, "contributor", "  zoë o'BRIEN ")
    assert (found.state, found.left) == ("done", {})
    assert count(erasing, "occurrences") == 4
    assert places_of(erasing.settings, PEOPLE[0]) == []
    assert count(erasing, "occurrences", "bibliographic_citation like '%[erased]%'") == 4
    again = take(erasing.planner.lake, deliver(tmp_path, name="survey_2018.csv", latitude=38.6))
    assert again.files[0].reasons == {"erased": 5}


def test_a_dataset_goes_whole_and_its_files_are_refused_without_a_copy(erasing: Eraser, tmp_path: Path) -> None:
    observations = count(erasing, "observations")
    found = erase(erasing, "dataset", "survey")
    assert (found.state, found.left) == ("done", {})
    assert count(erasing, "occurrences") == count(erasing, "quarantine") == 0
    assert count(erasing, "biodiversity_statistics") == 0
    assert count(erasing, "observations") == observations > 0
    assert places_of(erasing.settings, "survey") == []
    again = take(erasing.planner.lake, deliver(tmp_path, latitude=38.6))
    assert [one.status for one in again.files] == ["refused"]
    assert not erasing.settings.refused_dir.exists()
    assert places_of(erasing.settings, "survey") == []


def test_what_a_legal_hold_keeps_stays_whole_and_goes_when_it_is_released(erasing: Eraser) -> None:
    engine = erasing.planner.engine
    match = f"source_data_id = '{STUDY.replace(chr(39), 2 * chr(39))}'"
    hold = place_hold(engine, dataset="feature_store", match=match, reason="Case 7.", placed_by="ana")
    rows = count(erasing, "feature_store")
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    assert preview.held == {"lake occurrences": 2, "lake feature_store": 4}
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.held) == ("running", preview.held)
    assert count(erasing, "feature_store") == rows
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 2
    release_hold(engine, hold.hold_id, released_by="ana")
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.held, found.left) == ("done", {}, {})
    assert count(erasing, "feature_store") == rows - 4
    assert places_of(erasing.settings, STUDIES[0]) == []


STEPS = ("ordered", "listed", "traced", "removed", "computed again", "redacted", "cleared", "unlinked", "forgotten")


@pytest.mark.parametrize(
    "steps", [pytest.param(STEPS, marks=pytest.mark.long), ("traced", "removed", "forgotten")], ids=["all", "some"]
)
def test_a_crash_at_any_step_and_the_same_confirmation_again_is_one_erasure(
    database_settings: Settings, erasing: Eraser, steps: tuple[str, ...]
) -> None:
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    for wanted in steps:

        def die(name: str, wanted: str = wanted) -> None:
            if name == wanted:
                raise KeyboardInterrupt

        with eraser(database_settings, step=die) as dying, pytest.raises(KeyboardInterrupt):
            dying.confirm(preview.sha256)
    with eraser(database_settings) as opened:
        found = opened.confirm(preview.sha256)
        assert (found.state, found.left, found.before["lake occurrences"]) == ("done", {}, 2)
        assert opened.confirm(preview.sha256) == found
    assert places_of(erasing.settings, STUDIES[0]) == []


def test_what_was_not_shown_is_not_erased(erasing: Eraser, tmp_path: Path) -> None:
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    take(erasing.planner.lake, deliver(tmp_path, name="survey_2018.csv", latitude=38.6))
    with pytest.raises(PlanError, match="changed since it was shown"):
        erasing.confirm(preview.sha256)
    with pytest.raises(PlanError, match="no preview of that hash"):
        erasing.confirm("0" * 64)


def test_a_hold_on_raw_rows_or_on_series_keeps_them(erasing: Eraser) -> None:
    engine = erasing.planner.engine
    raw = place_hold(engine, dataset="occurrences", match="dataset_id = 'survey'", reason="Case 7.", placed_by="ana")
    held = erasing.preview("taxon", "Gadus", reason="Asked for.").held
    assert held == {"lake occurrences": 4}
    release_hold(engine, raw.hold_id, released_by="ana")
    windows = count(erasing, "aggregated_time_series")
    place_hold(engine, dataset="aggregated_time_series", match="everything", reason="Case 8.", placed_by="ana")
    (dataset,) = (
        erasing.planner.lake.con.sql(f"from {erasing.planner.lake.table('observations').scan()}")
        .select("dataset_id")
        .distinct()
        .fetchall()
    )
    assert count(erasing, "feature_store", "temperature_degc is not null") > 0
    found = erase(erasing, "dataset", dataset[0])
    # No version of a feature that was computed with it is left.
    assert count(erasing, "feature_store", "temperature_degc is not null") == 0
    assert count(erasing, "feature_store", "feature_type = 'environmental'") == len(STUDIES)
    assert (found.state, found.held) == ("running", {"lake aggregated_time_series": windows})
    assert (count(erasing, "observations"), count(erasing, "aggregated_time_series")) == (0, windows)


def test_an_erasure_waits_for_an_ingest_that_goes_on_and_takes_its_rows_too(
    erasing: Eraser, database_settings: Settings, tmp_path: Path
) -> None:
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    late = deliver(tmp_path, name="survey_2018.csv", latitude=38.7)
    began, go_on, done = threading.Event(), threading.Event(), []

    def ingest_slowly() -> None:
        with Lake(database_settings) as lake:
            # Read and checked before the order, committed after it began.
            whole = lake.table("occurrences").append

            def slow(*args: Any, **more: Any) -> Any:
                began.set()
                go_on.wait(60)
                return whole(*args, **more)

            lake.table("occurrences").append = slow  # type: ignore[method-assign]
            done.append(take(lake, late))

    thread = threading.Thread(target=ingest_slowly)
    thread.start()
    assert began.wait(60)
    threading.Timer(1.0, go_on.set).start()
    found = erasing.confirm(preview.sha256)
    thread.join()
    assert done[0].accepted == 8
    assert (found.state, found.left) == ("done", {})
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 0
    assert count(erasing, "occurrences") == 12
    assert places_of(erasing.settings, STUDIES[0]) == []


def test_caches_go_whole_but_for_what_a_hold_keeps_and_for_its_graves(
    erasing: Eraser, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 30)
    with runner(erasing.settings) as retention:
        plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
        assert retention.execute(plan.sha256, confirm=plan.sha256).removed == 10
    hold = place_hold(erasing.engine, dataset="inference_cache", match="model_id = 'm'", reason="c", placed_by="ana")
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    held = {"postgres ml_inference_cache": 20, "postgres graves and archived files": 10}
    assert preview.held == held
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.held) == ("running", held)
    release_hold(erasing.engine, hold.hold_id, released_by="ana")
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.held, found.left) == ("done", {}, {})
    for table in ("ml_inference_cache", "graveyard", "tombstones"):
        assert everyone.execute(f"select count(*) from {table}").fetchall() == [(0,)]
