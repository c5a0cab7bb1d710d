"""What-if over recorded reads: the same policies give the same replay, other ones the regrets a person can work out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from retention_pipelines.cache.access import AccessCounter
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.runs.counts import forget_counts
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.retention.simulation.access_log import prune
from retention_pipelines.retention.simulation.simulate import Comparison, Replay, simulate
from tests.fixtures.postgres import migrated_database
from tests.fixtures.retention import add_features, add_predictions, feature_rows
from tests.unit.warehouse.rows import rows

DAY = timedelta(days=1)


# Where the server comes from does not matter here.
@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    with migrated_database(request) as opened:
        yield opened


_READ = """
insert into access_log
select (now() at time zone 'UTC')::date - %s, 'local', %s, %s, 1, now() - make_interval(days => %s)
"""


def read(con: psycopg.Connection[Any], dataset: str, key: str, days_ago: int) -> None:
    con.execute(_READ, (days_ago, dataset, key, days_ago))


def is_conserved(replay: Replay) -> bool:
    return (
        replay.kept + replay.gone == replay.rows
        and replay.removed - replay.returned == replay.gone
        and sum(day.removed for day in replay.days) == replay.removed
    )


def only(found: tuple[Comparison, ...], dataset: str) -> Comparison:
    return next(one for one in found if one.dataset == dataset)


def test_the_same_policies_give_the_same_replay_and_every_row_is_kept_or_gone(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_features(retention, 900)
    add_predictions(everyone, 600)
    before = feature_rows(retention)
    for ago in (0, 2, 5):
        for study in range(40):
            read(everyone, "feature_store", f"study-{study}", ago)
    policies = [one for one in default_policies() if one.dataset in ("feature_store", "inference_cache")]
    found = simulate(retention.planner, policies, days=6)
    assert [one.dataset for one in found] == ["feature_store", "inference_cache"]
    assert all(one.current == one.proposed for one in found)
    assert all(is_conserved(one.current) for one in found)
    assert only(found, "feature_store").logged_days == 3
    assert "no difference" in only(found, "feature_store").sentence()
    assert feature_rows(retention) == before
    longer = [replace(one, keep_seconds=one.keep_seconds * 2) for one in policies]
    for one in simulate(retention.planner, longer, days=6):
        assert is_conserved(one.proposed)
        assert one.proposed.gone <= one.current.gone, one.dataset


def test_a_row_that_is_asked_for_after_it_went_is_a_regret_is_paid_and_lives_on(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    table = retention.planner.lake.table("feature_store")
    # Three studies, computed 6 days ago; the third is never read, the first on two days, the second once at once.
    names = {"feature_hash": "'h' || i", "feature_id": "'s' || i", "source_data_id": "'s' || i"}
    table.append(rows("feature_store", 3, **names, quality_score="0.1", computed_at="now() - to_days(6)"))
    for key, ago in (("s0", 3), ("s0", 0), ("s1", 5)):
        read(everyone, "feature_store", key, ago)
    two_days = [
        replace(one, keep_seconds=2 * 86_400) if one.policy_id == "fs_low_quality" else one
        for one in default_policies()
        if one.dataset == "feature_store"
    ]
    (found,) = simulate(retention.planner, two_days, days=7)
    assert (found.current.gone, found.current.regrets) == (0, 0)
    # All three go when they are 2 days old; s0 comes back 3 days ago, goes again, and comes back today.
    assert (found.proposed.removed, found.proposed.regrets, found.proposed.gone) == (4, 2, 2)
    assert [day.regrets for day in found.proposed.days] == [0, 0, 0, 1, 0, 0, 1]
    assert found.proposed.unmeasured_regrets == 2
    assert "+2 regrets" in found.sentence()


def test_datasets_replayed_after_one_another_are_each_what_they_are_alone(retention: Runner) -> None:
    add_features(retention, 300)
    retention.planner.lake.table("aggregated_time_series").append(rows("aggregated_time_series", 70))
    wanted = ("feature_store", "aggregated_time_series")
    policies = [one for one in default_policies() if one.dataset in wanted]
    together = simulate(retention.planner, policies, days=3)
    assert {one.dataset: one.current.rows for one in together} == {"feature_store": 300, "aggregated_time_series": 70}
    for name in wanted:
        alone = simulate(retention.planner, [one for one in policies if one.dataset == name], days=3)
        assert only(together, name) == only(alone, name)


def test_a_day_of_a_replay_has_the_rows_that_were_there_then(retention: Runner) -> None:
    table = retention.planner.lake.table("feature_store")
    computed = "now() - to_days(case when i < 4 then 9 else 1 end)"
    table.append(rows("feature_store", 10, quality_score="0.1", computed_at=computed))
    mine = [one for one in default_policies() if one.dataset == "feature_store"]
    (found,) = simulate(retention.planner, mine, days=4)
    assert [day.rows for day in found.current.days] == [4, 4, 10, 10]


def test_what_is_computed_again_is_paid_by_what_was_measured_and_an_own_end_is_no_regret(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 300)
    everyone.execute(
        "insert into access_log select (now() at time zone 'UTC')::date, tenant, 'ml_inference_cache', cache_key, 1,"
        " now() from ml_inference_cache"
    )
    mine = [one for one in default_policies() if one.dataset == "inference_cache"]
    longer = [replace(one, keep_seconds=10**8) if one.policy_id == "ic_old_unused" else one for one in mine]
    (found,) = simulate(retention.planner, longer, days=5)
    assert (found.current.regrets, found.current.recompute_seconds) == (100, 250.0)
    assert (found.proposed.regrets, found.proposed.recompute_seconds) == (0, 0.0)
    assert found.current.returned == 200, "a third had an end of their own, which was over"
    assert "-100 regrets, -250.0 s" in found.sentence()


def test_counted_reads_are_logged_by_key_and_day_and_forgotten_after_the_days_of_the_settings(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    hot = HotTier(retention.settings, counters=Counters())
    counter = AccessCounter(hot)
    for _ in range(2):
        counter.count("feature_store", "s/temporal", 2)
        counter.count("feature_store", "t/temporal", reader="system")
        assert counter.flush(30.0)
    logged = everyone.execute("select tenant, dataset, key, hits from access_log").fetchall()
    assert logged == [(retention.settings.tenant, "feature_store", "s/temporal", 4)]
    # Two keys that are one to Postgres, which knows no lone surrogates.
    counter.count("feature_store", "s/\ud800")
    counter.count("feature_store", "s/\ud801")
    assert counter.flush(30.0)
    assert everyone.execute("delete from access_log where key = 's/?' returning hits").fetchall() == [(2,)]
    hot.make_days()
    day = "select tableoid::regclass::text from access_log"
    assert "access_log_default" not in str(everyone.execute(day).fetchall())
    read(everyone, "feature_store", "old", 40)
    prune(retention.planner.engine, 30)
    assert [key for (key,) in everyone.execute("select key from access_log").fetchall()] == ["s/temporal"]
    hot.close()


def test_counts_of_what_is_nowhere_any_more_are_forgotten_once_nobody_can_want_them(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_features(retention, 5)
    add_predictions(everyone, 5)
    feature = retention.planner.lake.con.sql(
        f"select min(feature_id) from {retention.planner.lake.table('feature_store').scan()}"
    ).fetchall()[0][0]
    tenant, entry = everyone.execute(
        "select tenant, min(cache_key) from ml_inference_cache group by tenant"
    ).fetchall()[0]
    counted = [
        ("feature_store", feature, 1000), ("feature_store", "gone/spatial", 1000), ("feature_store", "new/spatial", 60),
        ("ml_inference_cache", entry, 1000), ("ml_inference_cache", "gone", 1000), ("ml_inference_cache", "new", 60),
    ]  # fmt: skip
    add = "insert into access_counts values (%s, %s, %s, 3, now() - make_interval(days => %s))"
    for dataset, key, days in counted:
        everyone.execute(add, (tenant, dataset, key, days))
    assert forget_counts(retention.planner) == 2
    left = everyone.execute("select key from access_counts").fetchall()
    assert {str(key) for (key,) in left} == {feature, "new/spatial", entry, "new"}
