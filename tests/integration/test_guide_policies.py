"""The policy calls of the platform's guide, as it writes them."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from retention_pipelines.errors import DatabaseError, PolicyError, ReadOnly
from retention_pipelines.guide.policies import PolicyManager, get_policy_manager
from retention_pipelines.postgres.embedded import places
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server, embedded_url
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.unit.warehouse.rows import rows


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def manager(database_settings: Settings) -> PolicyManager:
    return get_policy_manager(database_settings)


def test_the_manager_is_had_without_an_event_loop_or_a_database() -> None:
    """I3: `get_policy_manager()` at module level raised."""
    assert isinstance(get_policy_manager(), PolicyManager)


def test_a_dry_run_of_all_policies_counts_what_each_would_remove_and_removes_nothing(
    manager: PolicyManager, database: Server, database_settings: Settings
) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    with connect(database, tenant="a", autocommit=True) as con:
        con.execute(
            "insert into ml_training_cache"
            " (tenant, cache_key, model_type, files, content_sha256, size_bytes, computed_at)"
            " values ('a', 'k', 'sdm', 'f', %s, 10, %s)",
            (bytes(32), old),
        )
    with Lake(database_settings) as lake:
        lake.table("feature_store").append(
            rows(
                "feature_store",
                10,
                feature_hash="'h' || i",
                computed_at="case when i < 4 then timestamptz '2020-01-01 00:00:00+00' else now() end",
            )
        )
        lake.table("aggregated_time_series").append(rows("aggregated_time_series", 3, window_label="'w' || i"))
    policy_manager = manager
    report = policy_manager.execute_all_policies(dry_run=True)
    assert set(report) == {policy.policy_id for policy in default_policies()}
    assert report["tc_rare"]["records_affected"] == 1
    assert report["fs_low_quality"]["records_affected"] == 4
    assert report["fs_low_quality"]["records_total"] == 10
    # A series is as old as its file, not as the sea it tells of.
    assert (report["as_other"]["records_total"], report["as_other"]["records_expired"]) == (3, 0)
    assert len({outcome["as_of"] for outcome in report.values()}) == 1
    assert json.loads(json.dumps(report)) == report
    again = policy_manager.execute_all_policies(dry_run=True)
    assert {name: one["records_total"] for name, one in again.items()} == {
        name: one["records_total"] for name, one in report.items()
    }
    with connect(database, tenant="a") as con:
        assert con.execute("select count(*) from ml_training_cache").fetchall() == [(1,)]


def test_the_dry_run_may_be_awaited_as_the_guide_does(manager: PolicyManager) -> None:
    async def awaited() -> dict[str, object]:
        return dict(await manager.execute_all_policies(dry_run=True))

    assert "fs_low_quality" in asyncio.run(awaited())


def test_policies_are_not_executed_unseen(manager: PolicyManager) -> None:
    with pytest.raises(PolicyError, match="dry_run=True"):
        manager.execute_all_policies(dry_run=False)


def test_an_update_of_the_guide_makes_a_new_version(manager: PolicyManager) -> None:
    async def update() -> int:
        policy_manager = manager
        saved = await policy_manager.update_policy("fs_low_quality", {"retention_days": 30})
        return saved.keep_seconds

    assert asyncio.run(update()) == 30 * 86_400
    assert manager.get_policies()["fs_low_quality"].version == 2
    assert manager.execute_all_policies(dry_run=True)["fs_low_quality"]["version"] == 2


def test_nothing_is_edited_in_the_read_only_mode(database_settings: Settings) -> None:
    manager = get_policy_manager(database_settings.model_copy(update={"mode": "read_only"}))
    with pytest.raises(ReadOnly):
        asyncio.run(manager.update_policy("fs_low_quality", {"retention_days": 30}))


@pytest.mark.parametrize("made", [False, True], ids=["no database", "no tables"])
def test_without_tables_the_dry_run_says_what_to_run(
    embedded_server: Server, embedded_settings: Settings, made
) -> None:
    name = f"empty_{'made' if made else 'missing'}"
    if made:
        embedded_server.ensure_database(name)
    url = embedded_url(places(embedded_settings.state_dir)).set(database=name).render_as_string(hide_password=False)
    settings = embedded_settings.model_copy(update={"database_url": SecretStr(url)})
    with pytest.raises(DatabaseError, match="Run `retention db upgrade`"):
        get_policy_manager(settings).execute_all_policies(dry_run=True)
