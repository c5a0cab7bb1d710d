"""Policies in Postgres: every version is kept, edits do not overwrite each other, and a bad set is never saved."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.filter.ast import Everything
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.policies.registry import Change, PolicyRegistry, differences
from tests.fixtures.postgres import migrated_database


# Where the server comes from does not matter here.
@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def engine(database: Server) -> Iterator[Engine]:
    """As the service, which may not remove a version."""
    engine = open_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> PolicyRegistry:
    """With the defaults loaded."""
    registry = PolicyRegistry(engine)
    registry.load_defaults()
    return registry


def test_the_defaults_are_loaded_once_and_come_back_as_they_were(engine: Engine) -> None:
    registry = PolicyRegistry(engine)
    assert registry.load_defaults() == default_policies()
    assert registry.load_defaults() == ()
    assert set(registry.current()) == set(default_policies())
    assert [policy.policy_id for policy in registry.policy_set("feature_store").policies] == [
        "fs_high_quality",
        "fs_medium_quality",
        "fs_unknown_quality",
        "fs_low_quality",
    ]


def test_an_edit_makes_a_version_and_keeps_the_one_before(registry: PolicyRegistry) -> None:
    before = registry.get("fs_low_quality")
    saved = registry.set(registry.proposed("fs_low_quality", {"retention_days": 30}), created_by="ana")
    assert (saved.version, saved.keep_seconds) == (2, 30 * 86_400)
    assert registry.get("fs_low_quality") == saved
    assert registry.get("fs_low_quality", 1) == before
    newest, oldest = registry.history("fs_low_quality")
    assert (newest.created_by, newest.superseded_at) == ("ana", None)
    assert oldest.superseded_at is not None
    assert oldest.superseded_at >= oldest.created_at
    assert differences(before, saved) == (Change(field="keep_seconds", before="7776000", after="2592000"),)
    # Loading the defaults again does not take the edit back.
    assert registry.load_defaults() == ()
    assert registry.get("fs_low_quality") == saved


def test_a_new_policy_starts_at_version_1_and_a_filter_survives_storing(registry: PolicyRegistry) -> None:
    made = replace(
        registry.proposed("fs_high_quality", {"match": "not (priority in ('high', 'l''ow') or moved is unknown)"}),
        policy_id="mine",
        priority=450,
    )
    assert registry.set(made, created_by="ana").version == 1
    assert registry.get("mine") == replace(made, version=1)


def test_two_edits_from_the_same_version_do_not_overwrite_each_other(registry: PolicyRegistry) -> None:
    outcomes: list[object] = []
    gate = threading.Barrier(2)

    def edit(days: int) -> None:
        changed = registry.proposed("fs_low_quality", {"keep_days": days})
        gate.wait()
        try:
            outcomes.append(registry.set(changed, created_by="x", expected_version=1).version)
        except PolicyError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=edit, args=(days,)) for days in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == [
        "2",
        "fs_low_quality is at version 2 now; the edit was made from version 1.",
    ]


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("fs_low_quality", {"match": "quality_score > 0.5"}, "no catch-all"),
    ("fs_high_quality", {"match": "everything"}, "never governs"),
    ("fs_low_quality", {"keep_days": 0}, "lets every row go"),
    ("fs_low_quality", {"keep_days": 1.5}, "whole number of days"),
    ("fs_low_quality", {"colour": "red"}, "'colour' cannot be changed"),
    ("fs_low_quality", {"anchor": "expires_at"}, "no anchor 'expires_at'"),
    ("fs_low_quality", {"match": "quality > 1"}, "is not a field"),
    ("fs_low_quality", {"enabled": False}, "no catch-all"),
    ("fs_low_quality", {"priority": 400}, "both have the priority 400"),
    ("nothing", {}, "no policy 'nothing'"),
]


def test_an_edit_that_would_not_do_what_it_says_is_refused_and_changes_nothing(registry: PolicyRegistry) -> None:
    before = registry.current()
    for policy_id, changes, said in REFUSED:
        with pytest.raises(PolicyError, match=said):
            registry.set(registry.proposed(policy_id, changes), created_by="ana")
        assert registry.current() == before, changes


def test_an_id_of_another_dataset_and_a_priority_in_use_are_refused(registry: PolicyRegistry) -> None:
    stray = Policy(
        policy_id="tc_rare",
        version=1,
        dataset="feature_store",
        match=Everything(),
        keep_seconds=60,
        priority=50,
        reason="R",
    )
    with pytest.raises(PolicyError, match="governs another dataset"):
        registry.set(stray, created_by="ana")
    off = replace(registry.get("fs_high_quality"), policy_id="off", enabled=False)
    with pytest.raises(PolicyError, match="has the priority 400"):
        registry.set(off, created_by="ana")


def test_policies_that_exchange_their_priorities_are_saved_together_or_not_at_all(registry: PolicyRegistry) -> None:
    """One after another the first would take the priority of the second."""
    before = registry.current()
    high, medium = registry.get("fs_high_quality"), registry.get("fs_medium_quality")
    swapped = (replace(high, priority=300, match=medium.match), replace(medium, priority=400, match=high.match))
    with pytest.raises(PolicyError, match="priority 300"):
        registry.set(swapped[0], created_by="ana")
    expected = {"fs_high_quality": 1, "fs_medium_quality": 1}
    stray = replace(registry.get("tc_rare"), match=registry.get("tc_frequent").match)  # no catch-all any more
    for wrong, versions in (((*swapped, stray), expected), (swapped, {**expected, "fs_medium_quality": 7})):
        with pytest.raises(PolicyError):
            registry.set_all(wrong, created_by="ana", expected_versions=versions)
        assert registry.current() == before
    saved = registry.set_all(swapped, created_by="ana", expected_versions=expected)
    assert [(one.policy_id, one.version, one.priority) for one in saved] == [
        ("fs_high_quality", 2, 300),
        ("fs_medium_quality", 2, 400),
    ]
    assert [one.policy_id for one in registry.policy_set("feature_store").policies][:2] == [
        "fs_medium_quality",
        "fs_high_quality",
    ]


def test_a_default_that_would_take_a_users_priority_or_never_govern_is_left_out_and_told(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    registry = PolicyRegistry(engine)
    mine = {one.policy_id: one for one in default_policies()}
    for policy_id, priority in (("tc_rare", 300), ("fs_low_quality", 350)):
        registry.set(replace(mine[policy_id], policy_id=f"my_{policy_id}", priority=priority), created_by="ana")
    before = registry.current()
    loaded = {one.policy_id for one in registry.load_defaults()}
    left_out = {"tc_frequent", "tc_occasional", "tc_rare", "fs_medium_quality", "fs_unknown_quality", "fs_low_quality"}
    assert loaded == mine.keys() - left_out
    assert set(before) < set(registry.current())
    assert "tc_frequent is not loaded: my_tc_rare of training_cache has its priority, 300." in caplog.text
    assert "fs_low_quality never governs a row" in caplog.text
    assert registry.load_defaults() == ()


def test_the_service_cannot_remove_a_version(registry: PolicyRegistry, engine: Engine) -> None:
    with engine.connect() as con, pytest.raises(Exception, match="permission denied"):
        con.execute(text("delete from ml_retention_policies"))
