"""What runs do with lake rows beside deleting: packing, migrating, letting raw go behind a proven rollup, and back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from retention_pipelines.errors import CommitConflict, LakeError, PlanError, PolicyError, RunRefused
from retention_pipelines.postgres.tables import HOLDS
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.policies.governed import GOVERNED
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.pressure.budgets import set_budget
from retention_pipelines.retention.pressure.state import measure_with
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import Outcome, Runner, runner
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.layout import is_packed
from retention_pipelines.warehouse.removed import removed_months
from tests.fixtures.retention import add_features, feature_rows
from tests.unit.warehouse.rows import rows

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
# Two days of two months, delivered two years and one day ago; every tenth value is of bad quality.
_MONTH = "['2020-01', '2020-02', '2020-03'][1 + (i % 3)::int]"
RAW = {
    "record_hash": "'raw-' || i",
    "month": _MONTH,
    "event_start": f"({_MONTH} || '-1' || (i % 2) || ' 12:00:00+00')::timestamptz",
    "event_end": f"({_MONTH} || '-1' || (i % 2) || ' 12:00:01+00')::timestamptz",
    "variable": "'temperature_degc'",
    "value": "10 + i / 7.0",
    "depth_m": "(i % 40)::double",
    "qc_good": "i % 10 <> 0",
    "decimal_latitude": "50 + (i % 4)::double",
    "decimal_longitude": "-30.0::double",
    "ingested_at": "now() - to_days(if(i % 3 = 2, 1, 800))",
}


def policy(written: str) -> Policy:
    return read_policies(written)[0]


def execute(retention: Runner, one: Policy) -> tuple[Any, Outcome]:
    saved = retention.planner.registry.set(one, created_by="ana")
    plan = retention.plan(saved)
    return plan, retention.execute(plan.sha256, confirm=plan.sha256)


def act(retention: Runner, action: str, grace_days: int = 7) -> tuple[Any, Outcome]:
    registry = retention.planner.registry
    return execute(retention, registry.proposed("fs_low_quality", {"action": action, "grace_days": grace_days}))


def hold(retention: Runner, match: str) -> None:
    with retention.planner.engine.begin() as con:
        con.execute(insert(HOLDS).values(dataset="feature_store", match=match, reason="trial", placed_by="ana"))


def end_grace(retention: Runner) -> None:
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set grace_until = now() - interval '1 second' where state = 'published'"))


def held(retention: Runner, table: Any) -> dict[str, tuple[Any, ...]]:
    place = table.dataset.column_names.index("feature_hash")
    return {row[place]: row for row in table.con.execute(f"from {table.scan()}").fetchall()}


@pytest.fixture
def cold(database_settings: Settings, tmp_path: Path) -> Iterator[Runner]:
    """A runner with another root to migrate to."""
    with runner(database_settings.model_copy(update={"cold_root": str(tmp_path / "cold")})) as opened:
        yield opened


def test_numbers_are_rounded_within_the_tolerance_of_their_policy_and_restored_exactly(retention: Runner) -> None:
    """Rows of the policy that have expired, and no others; what cannot be rounded stays; undo brings back every bit."""
    table = retention.planner.lake.table("feature_store")
    table.append(
        rows(
            "feature_store",
            4_000,
            feature_hash="'hash-' || i",
            # A quarter is young, and some is held.
            computed_at="if(i % 4 = 0, now() - to_days(1), now() - to_days(400))",
            source_data_id="if(i % 40 = 1, 'held', 'study-' || i)",
            quality_score="0.1::double + 1e-9 * i",
            temperature_degc="case i when 1 then 'nan'::double when 2 then 'inf'::double when 3 then null "
            "else 10 + (hash(i) % 1000000007) / 1e8 end",
            gini_simpson="1 - (hash(i, 'g') % 1000) / 1e9",
        )
    )
    registry = retention.planner.registry
    hold(retention, "source_data_id = 'held'")
    before, size = feature_rows(retention), sum(file.bytes for file in table.files())
    changes = {"action": "compress", "tolerance": {"temperature_degc": 0.01, "gini_simpson": 0.1}}
    plan, outcome = execute(retention, registry.proposed("fs_low_quality", changes))
    after, names = feature_rows(retention), table.dataset.column_names
    moved = 0
    for key, row in before.items():
        old, new = dict(zip(names, row, strict=True)), dict(zip(names, after[key], strict=True))
        rounded = int(key[5:]) % 4 != 0 and old["source_data_id"] != "held" and int(key[5:]) not in (1, 2, 3)
        for name in ("temperature_degc", "gini_simpson"):
            was, now = old.pop(name), new.pop(name)
            if rounded:
                assert abs(now - was) <= changes["tolerance"][name]  # type: ignore[index]
                moved += now != was
            elif int(key[5:]) > 3:
                assert now == was
        assert new["quality_score"] == old["quality_score"]
        assert new == old
        # Its nearest step would be 1 and a bit: bounds of the column hold.
    assert moved > 2_000
    assert all(row[names.index("gini_simpson")] <= 1 for row in after.values())
    odd = [after[f"hash-{number}"][names.index("temperature_degc")] for number in (1, 2, 3)]
    assert [str(one) for one in odd] == ["nan", "inf", "None"]
    assert "rounded temperature_degc by at most 0.00" in str(outcome.said)
    assert sum(file.bytes for file in table.files()) < 0.95 * size
    restore_plan(retention, plan.sha256)
    assert repr(feature_rows(retention)) == repr(before)


def test_files_that_were_rounded_and_written_anew_since_are_not_put_back_silently(retention: Runner) -> None:
    table = retention.planner.lake.table("feature_store")
    noise = "10 + (hash(i) % 1000000007) / 1e8"
    old = "now() - to_days(400)"
    table.append(rows("feature_store", 2_000, feature_hash="'h' || i", computed_at=old, temperature_degc=noise))
    changes = {"action": "compress", "tolerance": {"temperature_degc": 0.01}}
    plan, _ = execute(retention, retention.planner.registry.proposed("fs_low_quality", changes))
    table.rewrite(lambda rows: f"select * from {rows}", op="rewritten")
    with pytest.raises(PlanError, match="written anew since"):
        restore_plan(retention, plan.sha256)


def test_packing_takes_less_space_changes_no_value_and_is_done_once(retention: Runner) -> None:
    for part in range(4):  # many small files, as deliveries make them
        table = retention.planner.lake.table("feature_store")
        table.append(
            rows(
                "feature_store",
                600,
                feature_hash=f"'{part}-' || i",
                month="'2026-0' || (1 + i % 2)",
                computed_at="now() - to_days(400)",
            )
        )
    before, files = feature_rows(retention), table.files()
    plan, outcome = act(retention, "compress")
    assert plan.removed_rows == outcome.removed == outcome.kept == 0
    assert outcome.rewritten == len(before)
    assert outcome.file_bytes > 0.05 * sum(file.bytes for file in files)
    assert "sorted by" in str(outcome.said)
    assert feature_rows(retention) == before
    assert all(is_packed(file.path) for file in table.files())
    # What was known of the rows is known of the new files, so that queries skip the same.
    least = min(file.minimum["computed_at"] for file in files)
    assert min(file.minimum["computed_at"] for file in table.files()) == least
    # Data whose age is that of its file is no younger for it.
    assert {file.written_at for file in table.files()} <= {file.written_at for file in files}
    retention.planner.lake.create_views()
    assert retention.planner.lake.con.execute("select count(*) from feature_store").fetchall() == [(len(before),)]
    again = retention.plan(retention.planner.registry.get("fs_low_quality"))
    assert {one.fate for one in again.partitions} == {"keep"}
    restore_plan(retention, plan.sha256)
    assert sorted(file.path for file in table.files()) == sorted(file.path for file in files)
    assert feature_rows(retention) == before


def test_packing_that_saves_nothing_is_not_committed_nor_tried_again(retention: Runner) -> None:
    add_features(retention, 900)
    table = retention.planner.lake.table("feature_store")
    version = table.version()
    plan, outcome = act(retention, "compress")
    assert "rewrite" in {one.fate for one in plan.partitions}
    assert (table.version(), outcome.rewritten, outcome.file_bytes) == (version, 0, 0)
    assert "no partition would become" in str(outcome.said)
    again = retention.plan(retention.planner.registry.get("fs_low_quality"))
    assert "rewrite" not in {one.fate for one in again.partitions}


def test_migrated_rows_are_on_the_other_root_and_come_back(cold: Runner) -> None:
    add_features(cold, 900)
    before = feature_rows(cold)
    plan, outcome = act(cold, "migrate")
    there = held(cold, cold.planner.lake.cold_table("feature_store"))
    assert outcome.archived == outcome.removed == len(there) == plan.removed_rows > 0
    assert feature_rows(cold) | there == before
    cold.planner.lake.create_views()
    assert cold.planner.lake.con.execute("select count(*) from feature_store_cold").fetchall() == [(len(there),)]
    restore_plan(cold, plan.sha256)
    assert feature_rows(cold) == before
    assert held(cold, cold.planner.lake.cold_table("feature_store")) == {}


def test_what_migrated_goes_by_its_age_and_comes_back_within_the_grace(cold: Runner) -> None:
    add_features(cold, 900)
    act(cold, "migrate")
    table = cold.planner.lake.cold_table("feature_store")
    before = held(cold, table)
    old = sum(row[table.dataset.column_names.index("computed_at")].year == 2023 for row in before.values())
    written = "feature_store_cold: [{{id: fc, priority: 1, match: everything, keep_days: {}, reason: R}}]"
    plan, outcome = execute(cold, policy(written.format(730)))
    assert 0 < old == outcome.removed == plan.removed_rows < len(before)
    assert len(held(cold, table)) == len(before) - old
    assert cold.planner.explain("feature_store_cold", next(iter(held(cold, table))))[0].decision.verdict == "keep"
    restore_plan(cold, plan.sha256)
    assert held(cold, table) == before
    _, outcome = execute(cold, policy(written.format(729)))
    end_grace(cold)
    assert "done" in {one.state for one in cold.sweep("feature_store_cold")}
    assert len(held(cold, table)) == len(before) - old
    assert measure_with(cold.planner.engine, cold.planner.lake, cold.settings).level


def test_a_policy_of_what_migrated_says_where_there_is_no_other_root(retention: Runner) -> None:
    written = "feature_store_cold: [{id: fc, priority: 1, match: everything, keep_days: 9, reason: R}]"
    with pytest.raises(LakeError, match="no other root"):
        retention.plan(retention.planner.registry.set(policy(written), created_by="ana"))
    assert retention.sweep() == ()
    with pytest.raises(PolicyError, match="nothing presses"):
        set_budget(retention.planner.engine, "feature_store_cold", 10, actor="ana")


def test_rows_migrate_to_an_object_store_and_come_back(database_settings: Settings, s3_settings: Settings) -> None:
    there = {"cold_root": f"{s3_settings.lake_root}-cold", "s3_endpoint_url": s3_settings.s3_endpoint_url}
    with runner(database_settings.model_copy(update=there)) as opened:
        ages = "now() - to_days(if(i < 40, 400, 1))"
        opened.planner.lake.table("feature_store").append(
            rows("feature_store", 60, feature_hash="'hash-' || i", computed_at=ages)
        )
        before = feature_rows(opened)
        plan, outcome = act(opened, "migrate")
        moved = held(opened, opened.planner.lake.cold_table("feature_store"))
        assert feature_rows(opened) | moved == before
        assert outcome.removed == len(moved) == 40
        restore_plan(opened, plan.sha256)
        assert feature_rows(opened) == before


def test_a_lake_in_an_object_store_is_packed(database_settings: Settings, s3_settings: Settings) -> None:
    there = {"lake_root": s3_settings.lake_root, "s3_endpoint_url": s3_settings.s3_endpoint_url}
    with runner(database_settings.model_copy(update=there)) as opened:
        for part in range(3):
            opened.planner.lake.table("feature_store").append(
                rows("feature_store", 200, feature_hash=f"'{part}-' || i", computed_at="now() - to_days(400)")
            )
        before = feature_rows(opened)
        plan, outcome = act(opened, "compress", grace_days=1)
        assert outcome.rewritten == 600
        end_grace(opened)
        assert [one.state for one in opened.sweep()] == ["done"]
        assert feature_rows(opened) == before
        assert plan.removed_rows == 0


def test_without_another_root_nothing_migrates(retention: Runner) -> None:
    add_features(retention, 300)
    before = feature_rows(retention)
    with pytest.raises(RunRefused, match="no other root") as refused:
        act(retention, "migrate")
    assert refused.value.plan_sha256 == retention.store.records("feature_store", limit=1)[0].sha256
    assert feature_rows(retention) == before


def test_a_migration_that_was_cut_off_anywhere_is_one_migration(cold: Runner) -> None:
    add_features(cold, 900)
    before = feature_rows(cold)
    registry = cold.planner.registry
    plan = cold.plan(registry.set(registry.proposed("fs_low_quality", {"action": "migrate"}), created_by="ana"))
    for point in ("marked", "archived", "committed", "shown"):

        def die(name: str, point: str = point) -> None:
            if name == point:
                raise RunRefused("cut off")

        with pytest.raises(RunRefused, match="cut off"):
            replace(cold, step=die).execute(plan.sha256, confirm=plan.sha256)
    outcome = cold.execute(plan.sha256)
    there = held(cold, cold.planner.lake.cold_table("feature_store"))
    assert outcome.removed == outcome.archived == len(there) == plan.removed_rows
    assert feature_rows(cold) | there == before


def test_vacuum_leaves_what_a_long_grace_needs_and_the_sweep_deletes_it(retention: Runner) -> None:
    add_features(retention, 900)
    before = feature_rows(retention)
    plan, _ = act(retention, "delete", grace_days=60)
    lake, table = retention.planner.lake, retention.planner.lake.table("feature_store")
    assert table.delta().metadata().configuration["delta.logRetentionDuration"].split()[1] > "60"
    entry = next(one for one in table.history() if one.removed)
    gone = [Path(table.root, path) for path in entry.removed]
    with_all = lake.needed_versions("feature_store")
    assert entry.version - 1 in with_all
    # What the sweep of another plan deletes is not what this one needs.
    assert table.remove_unneeded(entry.removed, keep_versions=with_all) == []
    restore_plan(retention, plan.sha256)
    assert feature_rows(retention) == before
    plan, _ = act(retention, "delete", grace_days=3)
    end_grace(retention)
    assert all(path.exists() for path in gone)
    # A commit of more than a day ago: nobody is at its files any more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retention_pipelines.retention.runs.run_lake._READERS", timedelta(seconds=-5))
        (swept,) = retention.sweep()
    assert swept.state == "done"
    assert not any(path.exists() for path in gone)
    assert len(feature_rows(retention)) == len(before) - plan.removed_rows


DOWNSAMPLE = """
observations: [{id: raw, priority: 1, match: everything, keep_days: 365, action: downsample, reason: R}]
"""


def test_raw_goes_only_behind_its_proven_rollup(retention: Runner) -> None:
    lake = retention.planner.lake
    raw = lake.table("observations")
    raw.append(rows("observations", 600, **RAW))
    update_series(lake)
    series = lake.con.execute(f"from {lake.table('aggregated_time_series').scan()} order by all").fetchall()
    plan, outcome = execute(retention, policy(DOWNSAMPLE))
    # Rows of two months are old enough; those of bad quality enter no statistic and stay.
    assert plan.removed_rows == 400
    assert (outcome.removed, outcome.kept) == (360, 40)
    assert "40 because they enter no daily statistic" in str(outcome.said)
    left = lake.con.execute(f"select qc_good, month, count(*) from {raw.scan()} group by all order by all").fetchall()
    assert left == [(False, "2020-01", 20), (False, "2020-02", 20), (False, "2020-03", 20), (True, "2020-03", 180)]
    # The series says what it said, and is not computed from what is left.
    update_series(lake)
    assert lake.con.execute(f"from {lake.table('aggregated_time_series').scan()} order by all").fetchall() == series
    restore_plan(retention, plan.sha256)
    assert lake.con.execute(f"select count(*) from {raw.scan()}").fetchall() == [(600,)]


def test_raw_whose_rollup_differs_stays_with_the_reason(retention: Runner) -> None:
    lake = retention.planner.lake
    raw, series = lake.table("observations"), lake.table("aggregated_time_series")
    raw.append(rows("observations", 600, **RAW))
    update_series(lake)
    # A rollup that is complete and newer, but wrong in one cell: somebody wrote to it.
    series.rewrite(
        lambda found: f"select * replace (if(location_grid = '51.0_-30.0', mean + 1e-3, mean) as mean) from {found}",
        op="tampered",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retention_pipelines.retention.actions.lake_rollup.update_series", lambda *_, **__: None)
        plan, outcome = execute(retention, policy(DOWNSAMPLE))
    assert "because the rollup sums up to something else" in str(outcome.said)
    assert 0 < outcome.removed < 360
    kept = lake.con.execute(
        f"select distinct decimal_latitude from {raw.scan()} where qc_good and month < '2020-03'"
    ).fetchall()
    assert kept == [(51.0,)]
    assert outcome.removed + outcome.kept == plan.removed_rows


def test_a_rollup_that_is_missing_is_computed_first(retention: Runner) -> None:
    lake = retention.planner.lake
    lake.table("observations").append(rows("observations", 600, **RAW))
    assert execute(retention, policy(DOWNSAMPLE))[1].removed == 360
    assert sum(file.rows for file in lake.table("aggregated_time_series").files()) > 0


@pytest.mark.parametrize(
    ("dataset", "action"),
    [
        ("observations", "delete"),
        ("occurrences", "delete"),
        ("occurrences", "downsample"),
        ("feature_store", "downsample"),
        ("feature_store_archive", "archive"),
        ("observations_archive", "delete"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_policy_is_set(retention: Runner, dataset: str, action: str) -> None:
    with pytest.raises(PolicyError, match="cannot be"):
        policy(f"{dataset}: [{{id: p, priority: 1, match: everything, keep_days: 1, action: {action}, reason: R}}]")
    assert action not in GOVERNED[dataset].actions


def test_the_archive_is_governed_like_what_it_holds(retention: Runner) -> None:
    add_features(retention, 900)
    act(retention, "archive")
    archive = retention.planner.lake.archive_table("feature_store")
    held_before = held(retention, archive)
    one = policy("feature_store_archive: [{id: fa, priority: 1, match: everything, keep_days: 1000, reason: R}]")
    plan, outcome = execute(retention, one)
    assert outcome.removed == plan.removed_rows > 0
    assert len(held(retention, archive)) == len(held_before) - outcome.removed
    restore_plan(retention, plan.sha256)
    assert held(retention, archive) == held_before


def test_raw_that_came_back_beside_newer_rows_is_computed_from_again(retention: Runner) -> None:
    """Every row is there again, so nothing says that its months lack any; before, they were left alone for good."""
    lake = retention.planner.lake
    raw = lake.table("observations")
    raw.append(rows("observations", 600, **RAW))
    plan, outcome = execute(retention, policy(DOWNSAMPLE))
    assert sorted(removed_months(lake, "observations")) == ["2020-01", "2020-02"]
    raw.append(rows("observations", 20, **RAW | {"record_hash": "'new-' || i", "month": "'2020-01'"}))
    assert restore_plan(retention, plan.sha256).rows == outcome.removed
    assert lake.con.execute(f"select count(*) from {raw.scan()}").fetchall() == [(620,)]
    assert removed_months(lake, "observations") == {}
    update_series(lake, months=["2020-01"])


@pytest.mark.parametrize("newer", [False, True])
def test_a_restore_that_was_cut_off_shows_and_counts_what_came_back(
    retention: Runner, monkeypatch: pytest.MonkeyPatch, newer: bool
) -> None:
    lake = retention.planner.lake
    add_features(retention, 900)
    before = len(feature_rows(retention))
    plan, outcome = act(retention, "delete")
    if newer:  # then rows come back by a commit of their own, not by taking one back
        lake.table("feature_store").append(rows("feature_store", 1, feature_hash="'new'", computed_at="now()"))

    def die(_: object) -> None:
        raise RunRefused("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(type(lake), "publish", die)
        with pytest.raises(RunRefused, match="cut off"):
            restore_plan(retention, plan.sha256)
    assert restore_plan(retention, plan.sha256).rows == outcome.removed
    lake.create_views()
    assert lake.con.execute("select count(*) from feature_store").fetchall() == [(before + newer,)]
    with retention.planner.engine.connect() as con:
        told = con.scalars(text("select details ->> 'rows' from audit where action = 'retention.restored'")).all()
    assert told == [str(outcome.removed)]


def test_rows_that_went_after_they_were_copied_are_no_migrated_rows(cold: Runner) -> None:
    """Somebody takes a delivery back between copy and removal: nothing goes, and the next call is one clean run."""
    add_features(cold, 900)
    lake, before = cold.planner.lake, feature_rows(cold)
    late = lake.table("feature_store").append(
        rows(
            "feature_store",
            40,
            feature_hash="'late-' || i",
            feature_type="'temporal'",
            month="'2026-03'",
            computed_at="now() - to_days(400)",
        )
    )
    registry = cold.planner.registry
    plan = cold.plan(registry.set(registry.proposed("fs_low_quality", {"action": "migrate"}), created_by="ana"))

    def take_back(name: str) -> None:
        if name == "archived":
            with Lake(cold.settings) as other:
                other.table("feature_store").undo(late.version)

    with pytest.raises(CommitConflict, match="Nothing was removed"):
        replace(cold, step=take_back).execute(plan.sha256, confirm=plan.sha256)
    assert feature_rows(cold) == before
    outcome = cold.execute(plan.sha256)
    there = held(cold, lake.cold_table("feature_store"))
    assert outcome.removed == outcome.archived == len(there) == plan.removed_rows - 40
    assert feature_rows(cold) | there == before
