"""Erasure orders on a real lake and a real Postgres: nothing of the subject is left, and it does not come back."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import S3Store

from retention_pipelines.cache.training.durable import locked
from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.cli.erase import _show
from retention_pipelines.errors import PlanError, RunBusy
from retention_pipelines.postgres import audit
from retention_pipelines.retention.erasure.eraser import WHAT_ELSE_GOES, Eraser, eraser
from retention_pipelines.retention.erasure.orders import Certificate
from retention_pipelines.retention.protection.holds import place_hold, release_hold
from retention_pipelines.retention.protection.models import list_roots, needs_of_studies, register_model
from retention_pipelines.retention.protection.pins import list_pins, place_pin
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.archive import move_rows
from retention_pipelines.warehouse.objects import store_options
from tests.fixtures.erasure import PEOPLE, STUDIES, buoys, compute, deliver, places_of, take
from tests.fixtures.retention import add_predictions
from tests.integration.test_retention_training import KEYS, save

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
    engine, others = erasing.planner.engine, tuple(f"survey/{one}" for one in STUDIES[1:3])
    needs = needs_of_studies(dict.fromkeys((STUDY, *others), "2017-08"))
    register_model(engine, "m", "1", needs=needs, registered_by="ana")
    place_pin(engine, dataset="feature_store", match=needs[0].match, reason=f"For {STUDY}.", placed_by="ana")
    before = count(erasing, "occurrences")
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    assert (preview.counts["lake occurrences"], preview.counts["lake quarantine"]) == (2, 1)
    assert preview.counts["lake feature_store"] == 4
    assert {n for name, n in preview.counts.items() if "texts of" in name} == {0}
    assert count(erasing, "occurrences") == before
    # What the caches do meanwhile does not keep a person from confirming.
    add_predictions(everyone, 30)
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.left, found.held) == ("done", {}, {})
    assert [one.split()[0] for one in found.not_reached] == ["Backups,", "Postgres's", "Logs,", "Files"]
    assert erasing.certificate(found.order) == found
    assert everyone.execute("select count(*) from ml_inference_cache").fetchall() == [(0,)]
    # What a model or a pin keeps beside it stays protected.
    left = needs_of_studies(dict.fromkeys(others, "2017-08"))[0].match
    assert [one.match for one in list_roots(engine)] == [one.match for one in list_pins(engine)] == [left]
    assert count(erasing, "occurrences") == before - 2
    assert places_of(erasing.settings, STUDIES[0], STUDY) == []
    for (table,) in everyone.execute(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    ).fetchall():
        rows = everyone.execute(f'select t::text from "{table}" as t').fetchall()
        assert not [row for row in rows if "haul-Ä" in row[0]], table
    assert audit.verify(everyone).holds
    # Again: a new delivery of the same rows, and a second order for the same subject.
    again = take(erasing.planner.lake, deliver(tmp_path, name="survey_2018.csv", latitude=38.6))
    assert again.files[0].reasons == {"erased": 3}
    assert again.read == again.accepted + again.quarantined + again.duplicates == 9
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 0
    assert places_of(erasing.settings, STUDIES[0]) == []
    # As much as before the first order, but not the same order again.
    second = erase(erasing, "study", STUDY)
    assert (second.state, second.order) == ("done", found.order + 1)


@pytest.mark.long
@pytest.mark.parametrize("whole", [False, True], ids=["what migrated", "the lake"])
def test_an_erasure_reaches_what_lies_in_an_object_store(
    database_settings: Settings, s3_settings: Settings, filled: Path, tmp_path: Path, whole: bool
) -> None:
    root = s3_settings.lake_root
    there = {"lake_root" if whole else "cold_root": root, "s3_endpoint_url": s3_settings.s3_endpoint_url}
    settings = database_settings.model_copy(update=there)
    options = settings.storage_options or settings.cold_storage_options
    assert options is not None
    store = S3Store.from_url(root, **store_options(options))

    def is_named() -> list[str]:
        """Everything under the root, here, where it can be searched."""
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        for path in (str(one["path"]) for part in store.list() for one in part):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes(bytes(store.get(path).bytes()))
        return places_of(settings.model_copy(update={"lake_root": str(copy)}), STUDIES[0], STUDY)

    if whole:
        for file in filled.rglob("*"):
            if file.is_file() and not file.is_symlink() and ".published" not in file.parts:
                store.put(str(file.relative_to(filled)), file.read_bytes())
    else:
        shutil.copytree(filled, settings.lake_root, symlinks=True)
        with Lake(settings) as lake:
            move_rows(lake.table("feature_store"), lake.cold_table("feature_store"), "true", run="test")
    assert is_named()
    with eraser(settings) as opened:
        found = erase(opened, "study", STUDY)
        place = "lake feature_store" if whole else "lake cold feature_store"
        assert (found.state, found.left, found.before[place]) == ("done", {}, 4)
    assert is_named() == []
    assert any(one.startswith("On S3") for one in found.not_reached)


def test_a_taxon_goes_what_it_was_counted_in_is_computed_again_and_the_ledger_adds_up(erasing: Eraser) -> None:
    assert count(erasing, "biodiversity_statistics", "richness = 2") > 0
    assert erase(erasing, "taxon", "gADUS").state == "done"
    assert count(erasing, "biodiversity_statistics", "richness = 2") == 0
    assert count(erasing, "biodiversity_statistics", "richness = 1") > 0
    assert count(erasing, "feature_store", "feature_type = 'species' and richness <> 1") == 0
    assert count(erasing, "feature_store", "feature_type = 'species'") == 4
    assert places_of(erasing.settings, "Gadus") == []
    table = erasing.planner.lake.table("ingested_files")
    lines = table.con.sql(f"from {table.scan()}").filter("path like '%survey.csv'")
    assert lines.select("read", "accepted", "quarantined", "duplicates", "values").fetchall() == [(4, 4, 0, 0, 4)]
    assert count(erasing, "occurrences") == 4


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


def test_what_legal_holds_keep_stays_whole_and_goes_when_they_are_released(
    erasing: Eraser, everyone: psycopg.Connection[Any]
) -> None:
    """A study, cached answers with what a run took out of their table, and a training set with its files."""
    engine, sets = erasing.planner.engine, TrainingSets(erasing.settings)
    for number, key in enumerate(KEYS[:2]):
        save(sets, everyone, key, number, days_old=1)
    add_predictions(everyone, 30)
    with runner(erasing.settings) as retention:
        plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
        assert retention.execute(plan.sha256, confirm=plan.sha256).removed == 10
    match = f"source_data_id = '{STUDY.replace(chr(39), 2 * chr(39))}'"
    holds = [
        place_hold(engine, dataset=dataset, match=kept, reason="Case 7.", placed_by="ana")
        for dataset, kept in (
            ("feature_store", match),
            ("inference_cache", "model_id = 'm'"),
            ("training_cache", f"cache_key = '{KEYS[0]}'"),
        )
    ]
    rows = count(erasing, "feature_store")
    preview = erasing.preview("study", STUDY, reason="Asked for.")
    assert preview.held == {
        "lake occurrences": 2,
        "lake feature_store": 4,
        "postgres ml_inference_cache": 20,
        "postgres ml_training_cache": 1,
        "postgres graves and archived files": 10,
    }
    found = erasing.confirm(preview.sha256)
    assert (found.state, found.held) == ("running", preview.held)
    assert count(erasing, "feature_store") == rows
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 2
    assert [sets.find(key) is not None for key in KEYS[:2]] == [True, False]
    assert len(list((sets.root / "files").iterdir())) == 2
    for hold in holds:
        release_hold(engine, hold.hold_id, released_by="ana")
    # A set that is just being stored is waited for, and its files go, too.
    storing = ExitStack()
    storing.enter_context(locked(sets.root / "lock", shared=True))

    def stored_soon(name: str) -> None:
        if name == "cleared":
            threading.Timer(0.3, storing.close).start()

    held = replace(erasing, step=stored_soon)
    found = held.confirm(preview.sha256)
    assert (found.state, found.held, found.left) == ("done", {}, {})
    assert not list((sets.root / "sets").iterdir()) + list((sets.root / "files").iterdir())
    for table in ("ml_inference_cache", "ml_training_cache", "graveyard_inference_cache", "tombstones"):
        assert everyone.execute(f"select count(*) from {table}").fetchall() == [(0,)]
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


def test_an_erasure_waits_for_runs_that_go_on_or_were_cut_short(erasing: Eraser) -> None:
    series = erasing.planner.lake.table("aggregated_time_series")
    ((name,),) = series.con.sql(f"from {series.scan()}").select("dataset_id").distinct().fetchall()
    preview = erasing.preview("dataset", name, reason="Asked for.")

    def die(name: str) -> None:
        if name == "marked":
            with pytest.raises(RunBusy):
                erasing.confirm(preview.sha256)
            raise KeyboardInterrupt

    with runner(erasing.settings, step=die) as dying:
        plan = dying.plan(dying.planner.registry.get("as_other"))
        with pytest.raises(KeyboardInterrupt):
            dying.execute(plan.sha256, confirm=plan.sha256)
    # Where single rows go, the plan names them: without it nobody could finish the run, nor take it back.
    rows = pa.table({"row_id": [json.dumps([name, "2017-08"])]})
    pq.write_table(rows, Path(erasing.settings.lake_root) / "_plans" / f"{plan.sha256}.parquet")
    preview = erasing.preview("dataset", name, reason="Asked for.")
    assert preview.counts["files plans"] == 1
    with pytest.raises(PlanError, match="cut short"):
        erasing.confirm(preview.sha256)
    assert erasing.orders() == ()


def test_a_person_is_told_what_goes_with_it_before_confirming(
    erasing: Eraser, capsys: pytest.CaptureFixture[str]
) -> None:
    preview = erasing.preview("contributor", PEOPLE[0], reason="Asked for.")
    assert preview.counts["lake texts of occurrences"] == 4
    _show(preview, as_json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "ALL training sets" in told
    assert "Undo, restore and time travel of EVERY table" in told
    assert told.index("EVERY table") < told.index(preview.sha256)
    _show(preview, as_json=True)
    assert json.loads(capsys.readouterr().out)["also"] == list(WHAT_ELSE_GOES)


def test_a_name_is_found_however_its_capitals_and_blanks_are_written(erasing: Eraser, tmp_path: Path) -> None:
    path = deliver(tmp_path, name="survey_2018.csv", latitude=40.1)
    text = path.read_text(encoding="utf-8").replace("Rui Costa", "\u039d\u0399\u039a\u039f\u03a3 Rui")
    path.write_text(text.replace("Ana Silva", "\u0130brahim Kaya\u00a0"), encoding="utf-8")
    take(erasing.planner.lake, path)
    for name, rows in (("\u03bd\u03b9\u03ba\u03bf\u03c2 rui", 2), ("\u0130brahim Kaya", 4), ("ibrahim kaya", 4)):
        assert erasing.preview("contributor", name, reason="Asked for.").counts["lake occurrences"] == rows


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

    def let_go_soon(step: str) -> None:
        # What is to be erased was compared with the preview by then.
        if step == "ordered":
            threading.Timer(1.0, go_on.set).start()

    found = replace(erasing, step=let_go_soon).confirm(preview.sha256)
    thread.join()
    assert done[0].accepted == 8
    assert (found.state, found.left) == ("done", {})
    assert count(erasing, "occurrences", "event_id like 'haul-Ä%'") == 0
    assert count(erasing, "occurrences") == 12
    assert places_of(erasing.settings, STUDIES[0]) == []
