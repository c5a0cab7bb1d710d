"""The work queue on both kinds of server: nothing asked for is lost, whatever dies."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines.errors import DatabaseError, ReadOnly
from retention_pipelines.features.compute import compute_features
from retention_pipelines.integration.hooks import Happening, Hooks
from retention_pipelines.integration.work_queue import PROCESS_STUDY, Claimed, Job, WorkQueue, process_new_study
from retention_pipelines.integration.worker import Worker, study_work
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import end_sessions, migrated_database
from tests.unit.defs.small_lake import fill

WORKER = Path(__file__).with_name("queue_worker.py")
MONTHS = tuple(f"2017-{month:02d}" for month in range(1, 7))


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def queue(database_settings: Settings) -> Iterator[WorkQueue]:
    with WorkQueue(database_settings) as opened:
        yield opened


def worker(queue: WorkQueue, work: Any) -> Worker:
    return Worker(queue, work, first_retry_seconds=0)


def by_subject(queue: WorkQueue) -> dict[str, Job]:
    return {job.subject: job for job in queue.jobs()}


def raw_settings(settings: Settings) -> str:
    url = settings.database_url
    assert url is not None
    return json.dumps(
        {
            "database_url": url.get_secret_value(),
            "lake_root": settings.lake_root,
            "state_dir": str(settings.state_dir),
        }
    )


def start(settings: Settings, what: str, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(WORKER), raw_settings(settings), what, str(folder)])


def contents(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of what a study's work writes, without when and by which run."""
    found = {}
    for name in ("feature_store", "aggregated_time_series", "biodiversity_statistics"):
        rows = lake.con.sql(f"select * exclude (computed_at) from {lake.table(name).scan()} order by all") \
            if name == "feature_store" else lake.con.sql(f"from {lake.table(name).scan()} order by all")  # fmt: skip
        found[name] = rows.fetchall()
    return found


def but_for_rounding(rows_of: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """The same rows, to compare with: a sum of doubles depends on their order, so its last digit may be another one."""

    def near(value: Any) -> Any:
        return pytest.approx(value, rel=1e-12, nan_ok=True) if isinstance(value, float) else value

    return {name: [tuple(map(near, row)) for row in rows] for name, rows in rows_of.items()}


def test_a_study_gets_its_four_feature_types_and_enters_the_series(
    queue: WorkQueue, database_settings: Settings
) -> None:
    with Lake(database_settings) as lake:
        fill(lake, MONTHS)
    heard: list[Happening] = []
    hooks = Hooks()
    hooks.add("before_study", heard.append)
    hooks.add("after_study", heard.append)
    asked = process_new_study("d/haul-2017-03", queue=queue)
    assert queue.due() == 1
    done = worker(queue, study_work(database_settings, hooks=hooks)).work_off()
    assert done.done == [asked.job_id]
    assert by_subject(queue)["d/haul-2017-03"].state == "done"
    with Lake(database_settings) as lake:
        stored = lake.table("feature_store").scan()
        kinds = lake.con.sql(f"select distinct feature_type from {stored} where source_data_id = 'd/haul-2017-03'")
        assert sorted(kinds.fetchall()) == [("environmental",), ("spatial",), ("species",), ("temporal",)]
        assert lake.published().versions["feature_store"] >= 0
        assert contents(lake)["biodiversity_statistics"]
    assert [(one.moment, one.subject, one.error) for one in heard] == [
        ("before_study", "d/haul-2017-03", None),
        ("after_study", "d/haul-2017-03", None),
    ]


def test_the_rows_are_those_of_a_full_run(queue: WorkQueue, database_settings: Settings, tmp_path: Path) -> None:
    plain = database_settings.model_copy(update={"lake_root": str(tmp_path / "plain")})
    with Lake(database_settings) as lake:
        fill(lake, MONTHS)
    shutil.copytree(database_settings.lake_root, plain.lake_root, symlinks=True)
    with Lake(plain) as lake:
        compute_features(lake, months=None, now=datetime(2026, 1, 1, tzinfo=UTC))
        update_series(lake)
        update_biodiversity(lake)
        expected = but_for_rounding(contents(lake))
    with Lake(database_settings) as lake:
        rows = lake.con.sql(f"select distinct dataset_id || '/' || event_id from {lake.table('occurrences').scan()}")
        studies = [name for (name,) in rows.fetchall()]
        rows = lake.con.sql(f"select distinct dataset_id || '/' || event_id from {lake.table('observations').scan()}")
        studies += [name for (name,) in rows.fetchall()]
    for study in studies:
        process_new_study(study, queue=queue)
    worker(queue, study_work(database_settings)).work_off()
    with Lake(database_settings) as lake:
        assert contents(lake) == expected
    # Again, nothing changes.
    for study in studies:
        process_new_study(study, queue=queue)
    assert len(worker(queue, study_work(database_settings)).work_off().done) == len(set(studies))
    with Lake(database_settings) as lake:
        assert contents(lake) == expected


def test_asking_in_an_old_database_says_what_to_do(queue: WorkQueue, database: Server) -> None:
    """The caller got psycopg's UndefinedTable."""
    with connect(database, role="owner", tenant="*", autocommit=True) as con:
        con.execute("alter table work_queue rename to work_queue_of_later")
    with pytest.raises(DatabaseError, match="not in its newest state") as raised:
        queue.put("noted", "a/1")
    assert raised.value.hint == "Run `retention db upgrade`."


def test_asking_twice_while_it_waits_asks_once(queue: WorkQueue) -> None:
    first, second = process_new_study("d/1", queue=queue), process_new_study("d/1", queue=queue)
    assert (first.job_id, first.is_new, second.is_new) == (second.job_id, True, False)
    worker(queue, lambda jobs: {}).work_off()
    assert process_new_study("d/1", queue=queue).is_new


def test_a_study_without_records_is_tried_again_and_then_dead_with_the_reason(
    queue: WorkQueue, database_settings: Settings
) -> None:
    with Lake(database_settings) as lake:
        fill(lake, MONTHS[:1])
    queue.put(PROCESS_STUDY, "d/unknown", most_attempts=3)
    process_new_study("d/haul-2017-01", queue=queue)
    done = worker(queue, study_work(database_settings)).work_off()
    jobs = by_subject(queue)
    assert jobs["d/haul-2017-01"].state == "done"
    assert (jobs["d/unknown"].state, jobs["d/unknown"].attempts) == ("dead", 3)
    assert "holds no records" in (jobs["d/unknown"].reason or "")
    assert (len(done.done), len(done.again), len(done.dead)) == (1, 2, 1)
    assert queue.retry() == 1
    assert by_subject(queue)["d/unknown"].state == "waiting"


def test_a_job_that_fails_waits_before_its_next_attempt(queue: WorkQueue) -> None:
    queue.put(PROCESS_STUDY, "d/1")
    Worker(queue, lambda jobs: {job.job_id: "not now" for job in jobs}, first_retry_seconds=600).work_off()
    (job,) = queue.jobs()
    assert (job.state, job.attempts, job.reason) == ("waiting", 1, "not now")
    assert 500 < (job.run_at - job.queued_at).total_seconds() < 700
    assert queue.due() == 0


def test_what_is_wrong_with_one_job_keeps_no_other_from_being_done(queue: WorkQueue) -> None:
    for number in range(40):
        queue.put(PROCESS_STUDY, f"d/{number}", most_attempts=2)

    def work(jobs: Sequence[Claimed]) -> dict[int, str]:
        if any(job.subject == "d/17" for job in jobs):
            raise ValueError("seventeen")
        return {}

    worker(queue, work).work_off()
    jobs = by_subject(queue)
    assert {subject for subject, job in jobs.items() if job.state != "done"} == {"d/17"}
    assert (jobs["d/17"].state, jobs["d/17"].reason) == ("dead", "ValueError: seventeen")


def test_a_worker_killed_in_the_middle_loses_nothing_and_its_work_is_done_again(
    queue: WorkQueue, database_settings: Settings, tmp_path: Path
) -> None:
    with Lake(database_settings) as lake:
        fill(lake, MONTHS)
    studies = [f"d/haul-{month}" for month in MONTHS]
    for study in studies:
        process_new_study(study, queue=queue)
    process = start(database_settings, "process", tmp_path)
    ends = time.monotonic() + 60
    while not (tmp_path / "worked").exists():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert {job.state for job in queue.jobs()} == {"running"}
    with Lake(database_settings) as lake:
        before = contents(lake)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    while queue.due() != len(studies):
        assert time.monotonic() < ends
        time.sleep(0.02)
    done = worker(queue, study_work(database_settings)).work_off()
    assert len(done.done) == len(studies)
    assert {job.state for job in queue.jobs()} == {"done"}
    with Lake(database_settings) as lake:
        assert contents(lake) == before


def test_a_job_that_kills_its_workers_ends_dead_and_takes_no_other_with_it(
    queue: WorkQueue, database_settings: Settings, tmp_path: Path
) -> None:
    for name in ("d/poison", *(f"d/{number}" for number in range(20))):
        queue.put(PROCESS_STUDY, name, most_attempts=2)
    for _ in range(10):
        if start(database_settings, "poison", tmp_path).wait(60) == 0:
            break
    worker(queue, lambda jobs: {}).work_off()
    jobs = by_subject(queue)
    assert jobs["d/poison"].state == "dead"
    assert jobs["d/poison"].reason == "The worker was gone before the job ended."
    assert {job.state for job in jobs.values() if job.subject != "d/poison"} == {"done"}


def test_many_workers_do_every_job_once(database_settings: Settings, queue: WorkQueue) -> None:
    for number in range(300):
        queue.put(PROCESS_STUDY, f"d/{number}")
    seen: list[str] = []

    def run() -> None:
        def work(jobs: Sequence[Claimed]) -> dict[int, str]:
            seen.extend(job.subject for job in jobs)
            return {}

        with WorkQueue(database_settings) as own:
            worker(own, work).work_off(most=40)
            worker(own, work).work_off()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"d/{number}" for number in range(300))
    assert {job.state for job in queue.jobs(most=1000)} == {"done"}


def test_a_lost_connection_in_the_middle_of_a_job_costs_an_attempt_and_no_job(
    queue: WorkQueue, database: Server
) -> None:
    queue.put(PROCESS_STUDY, "d/1")
    cut = []

    def work(jobs: Sequence[Claimed]) -> dict[int, str]:
        if not cut:
            cut.append(True)
            end_sessions(database)
        return {}

    mine = worker(queue, work)
    rounds = iter([False, False, False, True])
    mine.watch(seconds=0.05, stop=lambda: next(rounds))
    (job,) = queue.jobs()
    assert (job.state, job.attempts) == ("done", 2)


def test_tenants_do_not_see_each_others_jobs(queue: WorkQueue, database_settings: Settings) -> None:
    process_new_study("d/1", queue=queue)
    with WorkQueue(database_settings.model_copy(update={"tenant": "north"})) as other:
        assert (other.jobs(), other.due(), other.retry()) == ((), 0, 0)
        assert worker(other, lambda jobs: {}).work_off().done == []
    assert queue.due() == 1


def test_read_only_mode_queues_nothing(database_settings: Settings) -> None:
    with WorkQueue(database_settings.model_copy(update={"mode": "read_only"})) as queue, pytest.raises(ReadOnly):
        process_new_study("d/1", queue=queue)


def test_done_jobs_are_forgotten_after_a_while_and_dead_ones_are_not(queue: WorkQueue) -> None:
    queue.put(PROCESS_STUDY, "d/1")
    queue.put(PROCESS_STUDY, "d/2", most_attempts=1)
    worker(queue, lambda jobs: {job.job_id: "bad" for job in jobs if job.subject == "d/2"}).work_off()
    assert queue.forget(days=1) == 0
    assert queue.forget(days=0) == 1
    assert [(job.subject, job.state) for job in queue.jobs()] == [("d/2", "dead")]
