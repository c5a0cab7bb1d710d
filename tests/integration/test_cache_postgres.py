"""The Postgres tier on both kinds of server: what was stored is answered, to its owner, as long as it lives."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Literal

import psycopg
import pytest

from retention_pipelines.cache.access import AccessCounter
from retention_pipelines.cache.connections import READERS, Unavailable
from retention_pipelines.cache.entry import LARGEST_PAYLOAD_BYTES, NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.process_lock import ProcessLock
from retention_pipelines.cache.statements import HOT_TABLES
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.postgres.bounded import BoundedConnection
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.postgres.watching import LOOKS, Watching
from retention_pipelines.settings import Settings

DAY = 86_400.0
COLUMNS: dict[str, dict[str, Any]] = {
    "features": {"feature_type": "spatial", "source_table": "studies"},
    "predictions": {"model_id": "m", "model_type": "sdm", "model_version": "1"},
}
Sql = Callable[..., list[tuple[Any, ...]]]
Kind = Literal["features", "predictions"]


@pytest.fixture
def tier(database_settings: Settings) -> Iterator[Callable[..., HotTier]]:
    """Opens tiers on the test's database, with settings changed as asked."""
    opened: list[HotTier] = []

    def make(**changed: object) -> HotTier:
        values = {"cache_deadline_seconds": 10.0} | changed
        opened.append(HotTier(database_settings.model_copy(update=values), counters=Counters()))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def hot(tier: Callable[..., HotTier]) -> HotTier:
    return tier()


@pytest.fixture
def sql(database: Server) -> Iterator[Sql]:
    """Runs a statement as the owner of the tables, who sees every tenant."""
    with connect(database, role="owner", tenant="*", autocommit=True) as con:

        def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor = con.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        yield run


def entry(key: str, data: bytes = b"value", kind: Kind = "features", **more: Any) -> NewEntry:
    values: dict[str, Any] = {
        "kind": kind,
        "key": key,
        "payload": Payload(codec="raw1", data=data),
        "computed_monotonic": time.monotonic() - more.pop("age", 0.0),
        "ttl_seconds": 600.0,
        "compute_seconds": 0.25,
        "function": "m.f",
        "columns": COLUMNS[kind] | more.pop("columns", {}),
    }
    return NewEntry(**(values | more))


def data(hot: HotTier, key: str, kind: Kind = "features", **more: Any) -> bytes | None:
    found = hot.get(kind, key, **more)
    return None if found is None else found.payload.data


@pytest.mark.parametrize("kind", ["features", "predictions"])
def test_an_entry_comes_back_with_its_age_and_remaining_life(hot: HotTier, kind: Kind) -> None:
    assert hot.get(kind, "k") is None
    assert (
        hot.put_many([entry("k", bytes(range(256)), kind, age=100.0), entry("ever", kind=kind, ttl_seconds=None)]) == 2
    )
    found = hot.get(kind, "k")
    assert found is not None
    assert found.payload == Payload(codec="raw1", data=bytes(range(256)))
    assert found.compute_seconds == 0.25
    assert 100.0 <= found.age_seconds < 160.0
    assert found.remaining_seconds is not None
    assert abs(found.age_seconds + found.remaining_seconds - 600.0) < 0.01
    ever = hot.get(kind, "ever")
    assert ever is not None
    assert ever.remaining_seconds is None
    assert data(hot, "k", "features" if kind == "predictions" else "predictions") is None


def test_r8_an_empty_value_is_an_entry_like_any_other(hot: HotTier) -> None:
    hot.put_many([entry("empty", b""), entry("big", b"x" * 3_000_000)])
    assert data(hot, "empty") == b""
    assert data(hot, "big") == b"x" * 3_000_000


def test_many_entries_come_back_in_one_question_with_their_columns(hot: HotTier) -> None:
    hot.put_many([entry(f"k{n}", str(n).encode(), columns={"quality_score": n / 100}) for n in range(50)])
    found = hot.get_many("features", [f"k{n}" for n in range(60)], columns=True)
    assert {key: one.payload.data for key, one in found.items()} == {f"k{n}": str(n).encode() for n in range(50)}
    assert found["k7"].columns["quality_score"] == 0.07
    assert found["k7"].columns["source_table"] == "studies"
    one = hot.get("features", "k7", columns=True)
    assert one is not None
    assert one.columns == found["k7"].columns
    assert hot.get_many("features", []) == {}


def test_s13_keys_and_ids_of_any_length_with_any_character_are_stored(hot: HotTier, sql: Sql) -> None:
    odd = "nul \0 lone \ud800 quote ' \" \\ { } % $1 \n é " + "x" * 5000
    stored = hot.put_many(
        [
            entry("k" * 2000, columns={"source_data_id": odd, "feature_id": odd}, tags=(odd, ""), function=odd),
            entry("p", kind="predictions", columns={"input_summary": {odd: [odd, float("nan")], "n": 2**70}}),
        ]
    )
    assert stored == 2
    assert data(hot, "k" * 2000) == b"value"
    kept = sql("select source_data_id, tags, function from ml_feature_store")[0]
    assert len(kept[0]) == len(odd)
    assert kept[1] == [kept[0], ""]
    assert sql("select jsonb_typeof(input_summary) from ml_inference_cache") == [("object",)]


def test_s18_a_value_computed_again_after_its_expiry_replaces_the_old_one(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("k", b"old", ttl_seconds=0.05)])
    time.sleep(0.1)
    assert data(hot, "k") is None
    assert hot.put_many([entry("k", b"new")]) == 1
    assert data(hot, "k") == b"new"
    assert sql("select count(*) from ml_feature_store where expires_at > now()") == [(1,)]


def test_s19_equal_values_of_different_keys_are_both_stored(hot: HotTier) -> None:
    same = {"feature_hash": "h"}
    assert hot.put_many([entry("a", b"same", columns=same), entry("b", b"same", columns=same)]) == 2
    assert data(hot, "a") == data(hot, "b") == b"same"


def test_r2_r9_a_read_writes_nothing_and_prolongs_nothing(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("k"), entry("p", kind="predictions")])
    before = sql("select ctid, xmin, xmax, * from ml_feature_store")
    # Whatever writes takes a transaction number; reads take none.
    numbers = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    start = sql(numbers)[0][0]
    for _ in range(50):
        hot.get("features", "k")
        hot.get("predictions", "p")
        hot.get_many("features", ["k", "x"], columns=True)
    assert sql("select ctid, xmin, xmax, * from ml_feature_store") == before
    # The server's own upkeep may take a few.
    assert sql(numbers)[0][0] - start < 25


def test_s20_read_only_mode_reads_and_the_database_itself_refuses_to_let_it_write(
    hot: HotTier, tier: Callable[..., HotTier], sql: Sql
) -> None:
    hot.put_many([entry("k")])
    reader = tier(mode="read_only")
    assert data(reader, "k") == b"value"
    assert len(reader.get_many("features", ["k"])) == 1
    assert reader.put_many([entry("other")]) == 0
    assert not WriteBehind(reader, flush_seconds=0.1).put(entry("other"))
    assert ProcessLock(reader).acquire("k", 0.0) == "timeout"
    AccessCounter(reader).count("ml_feature_store", "k")
    with pytest.raises(Unavailable):
        reader.remove("all")
    with pytest.raises(Unavailable, match=r"read-only|no privilege"):
        reader.ask("delete from ml_feature_store returning 1")
    assert sql("select cache_key from ml_feature_store") == [("k",)]


def test_s22_a_naive_time_among_the_columns_is_utc(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("k", columns={"event_time": datetime(2026, 1, 2, 3, 4, 5)})])  # noqa: DTZ001
    assert sql("select event_time = '2026-01-02 03:04:05+00' from ml_feature_store") == [(True,)]


@pytest.mark.parametrize("first_ttl", [60.0, 3 * DAY, 400 * DAY, None])
@pytest.mark.parametrize("second_ttl", [90.0, 2 * DAY, 500 * DAY, None])
@pytest.mark.parametrize("days", ["made ahead", "not made"])
def test_the_newest_value_of_a_key_wins_on_whatever_days_old_and_new_expire(
    migrated_tier: HotTier, first_ttl: float | None, second_ttl: float | None, days: str
) -> None:
    hot = migrated_tier
    if days == "made ahead":
        hot.make_days()
    key = f"{first_ttl} {second_ttl} {days}"
    hot.put_many([entry(key, b"first", age=20.0, ttl_seconds=first_ttl)])
    assert hot.put_many([entry(key, b"second", age=10.0, ttl_seconds=second_ttl)]) == 1
    assert data(hot, key) == b"second"
    assert hot.put_many([entry(key, b"late", age=15.0, ttl_seconds=first_ttl)]) == 0
    assert data(hot, key) == b"second"
    assert len(hot.ask("select from ml_feature_store where cache_key = %s", (key,))) == 1


@pytest.fixture
def migrated_tier(migrated_server: Server, tmp_path: Any) -> Iterator[HotTier]:
    """A tier on the session's database, for tests with keys of their own."""
    from retention_pipelines.settings import load_settings

    url = migrated_server.address().set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    host = migrated_server.address().query.get("host")
    settings = load_settings(
        {},
        database_url=f"{url}?host={host}" if host else url,
        state_dir=tmp_path,
        cache_deadline_seconds=10.0,
        tenant="days",
    )
    tier = HotTier(settings, counters=Counters())
    yield tier
    tier.remove("all")
    tier.close()


def test_of_two_entries_for_a_key_in_one_batch_the_newer_is_stored(hot: HotTier) -> None:
    assert hot.put_many([entry("k", b"new"), entry("k", b"old", age=5.0)]) == 1
    assert data(hot, "k") == b"new"


def test_an_entry_that_expired_on_its_way_is_not_stored_and_lets_no_older_one_live(hot: HotTier) -> None:
    hot.put_many([entry("k", b"old", age=50.0, ttl_seconds=3 * DAY)])
    assert hot.put_many([entry("k", b"new", age=10.0, ttl_seconds=5.0)]) == 0
    assert data(hot, "k") is None


def test_a_refused_entry_does_not_keep_the_others_of_its_batch_from_being_stored(hot: HotTier) -> None:
    batch = [entry(f"k{n}", columns={"quality_score": 7.0} if n == 13 else {}) for n in range(40)]
    assert hot.put_many(batch) == 39
    assert data(hot, "k13") is None
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 1


def test_a_key_that_fits_no_index_is_left_out_and_harms_nothing(hot: HotTier) -> None:
    dice = random.Random(1)
    key = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    assert hot.put_many([entry(key), entry("k")]) == 1
    assert hot.get("features", key) is None
    assert data(hot, "k") == b"value"


def test_an_entry_too_large_to_be_read_in_time_is_left_out_and_counted(hot: HotTier) -> None:
    """Read at the deadline three times, one such entry opened the breaker for every other."""
    assert hot.put_many([entry("large", b"x" * (LARGEST_PAYLOAD_BYTES + 1)), entry("k")]) == 1
    assert hot.get("features", "large") is None
    assert data(hot, "k") == b"value"
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 1
    assert hot.put_many([entry("just", b"x" * LARGEST_PAYLOAD_BYTES)]) == 1


def test_stale_entries_are_answered_only_to_those_who_ask_and_only_within_their_bound(hot: HotTier) -> None:
    hot.put_many([entry("k", ttl_seconds=2.0)])
    time.sleep(2.1)
    assert hot.get("features", "k") is None
    stale = hot.get("features", "k", stale_seconds=3600.0)
    assert stale is not None
    assert stale.remaining_seconds is not None
    assert -60.0 < stale.remaining_seconds < 0.0
    assert hot.get("features", "k", stale_seconds=0.01) is None
    assert list(hot.get_many("features", ["k"], stale_seconds=3600.0)) == ["k"]


def test_an_entry_is_found_within_the_days_in_which_it_expires(hot: HotTier) -> None:
    lives = {"hour": 3600.0, "day": DAY, "most of three": 2.9 * DAY, "ever": None}
    for key, ttl in lives.items():
        hot.put_many([entry(key, ttl_seconds=ttl), entry(key, kind="predictions", ttl_seconds=ttl)])
    for kind in ("features", "predictions"):
        for within, there in ((1, ["hour", "day"]), (3, ["hour", "day", "most of three"]), (None, list(lives))):
            assert [key for key in lives if hot.get(kind, key, within_days=within) is not None] == there  # type: ignore[arg-type]


def test_a_lookup_within_days_asks_their_partitions_alone(hot: HotTier) -> None:
    """A lookup in every partition from today on took twice the time of one in those of today and tomorrow."""
    hot.make_days()
    hot.put_many([entry("k", ttl_seconds=DAY)])

    def asked(within: int | None) -> int:
        name, values, _ = hot.lookup("features", "k", within_days=within)
        given = ", ".join("'" + (value or b"").decode() + "'" for value in values)
        plan = hot.ask(f"explain (analyze, costs off) execute {name.decode()} ({given})")
        return sum("Scan using" in line for (line,) in plan)

    assert asked(None) >= 4
    assert asked(1) == 2


def test_of_several_rows_of_a_key_the_newest_that_is_fresh_is_answered(hot: HotTier, sql: Sql) -> None:
    """Stores leave one row; rows written by other ways, such as taking back a removal, may lie beside it."""
    hot.put_many([entry("k", b"old", ttl_seconds=4 * DAY, age=100.0), entry("twin", b"new", ttl_seconds=DAY)])
    sql("update ml_feature_store set cache_key = 'k' where cache_key = 'twin'")
    assert len(hot.ask(f"execute retention_get_features ('{hot.tenant}', 'k', 0)")) == 2
    # The seal of the newer one is of another key, so that it shows which was taken.
    assert hot.get("features", "k") is None
    sql("delete from ml_feature_store where payload = %s", b"new")
    assert data(hot, "k") == b"old"


def test_tenants_never_see_each_others_entries(tier: Callable[..., HotTier], sql: Sql) -> None:
    north, south = tier(tenant="north"), tier(tenant="south")
    for n in range(200):
        (north, south)[n % 2].put_many([entry(f"k{n}")])
    for n in range(200):
        owner, other = (north, south) if n % 2 == 0 else (south, north)
        assert data(owner, f"k{n}") == b"value"
        assert other.get("features", f"k{n}") is None
    everything = [f"k{n}" for n in range(200)]
    assert len(north.get_many("features", everything)) == len(south.get_many("features", everything)) == 100
    # Whatever statement a tenant's session runs.
    assert north.ask("select distinct tenant from ml_feature_store") == [("north",)]
    south.remove("all")
    assert len(north.get_many("features", everything)) == 100


@pytest.mark.parametrize(
    "forgery",
    [
        "set cache_key = 'other' where cache_key = 'k'",
        "set tenant = 'other' where cache_key = 'k'",
        "set payload_codec = 'raw2' where cache_key = 'k'",
        "set payload = payload || 'x' where cache_key = 'k'",
        "set payload_mac = sha256(payload) where cache_key = 'k'",
        "set payload = donor.payload, payload_mac = donor.payload_mac from donor where cache_key = 'k'",
    ],
)
def test_r5_what_was_changed_or_moved_in_the_database_is_a_miss_and_counted(
    tier: Callable[..., HotTier], sql: Sql, forgery: str
) -> None:
    hot, other = tier(), tier(tenant="other")
    hot.put_many([entry("k"), entry("donor", b"donated")])
    sql(
        "with donor as (select payload, payload_mac from ml_feature_store where cache_key = 'donor')"
        f" update ml_feature_store {forgery}"
    )
    for reader, key in ((hot, "k"), (hot, "other"), (other, "k")):
        assert reader.get("features", key) is None
        assert key not in reader.get_many("features", [key])
    seen = hot.counters.snapshot() | other.counters.snapshot()
    assert seen["features", "corrupt", "postgres"] == 2


def test_a_day_that_gets_its_partition_meanwhile_loses_no_store(hot: HotTier, database: Server, sql: Sql) -> None:
    """Postgres had chosen the default partition: "new row for relation violates partition constraint"."""
    insert = (
        "insert into access_log (accessed_on, tenant, dataset, key, hits, last_accessed_at)"
        " values (current_date + 300, current_setting('retention.tenant'), 'd', 'k', 1, now() + interval '300 days')"
    )
    with connect(database, role="owner", tenant="*") as con:
        con.execute("select public.retention_add_day_partitions('access_log', current_date + 300, current_date + 300)")
        with ThreadPoolExecutor() as pool:
            stored = pool.submit(hot.change, lambda one: one.execute(insert))
            while sql("select count(*) from pg_locks where not granted and relation is not null") == [(0,)]:
                assert not stored.done()
                time.sleep(0.01)
            con.commit()
            stored.result(60)
    assert sql("select count(*) from access_log where accessed_on = current_date + 300") == [(1,)]


def test_a_payload_of_one_kind_is_not_served_as_the_other(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("k", b"feature"), entry("k", b"prediction", "predictions")])
    sql(
        "update ml_inference_cache set (payload, payload_codec, payload_mac)"
        " = (select payload, payload_codec, payload_mac from ml_feature_store)"
    )
    assert hot.get("predictions", "k") is None
    assert data(hot, "k") == b"feature"


def test_entries_sealed_with_another_secret_are_not_served(tier: Callable[..., HotTier]) -> None:
    from pydantic import SecretStr

    tier().put_many([entry("k")])
    assert tier(cache_secret=SecretStr("another secret as long")).get("features", "k") is None


def test_ten_thousand_flipped_bits_are_never_served(hot: HotTier, sql: Sql) -> None:
    keys = [f"k{n}" for n in range(1000)]
    hot.put_many([entry(key, key.encode() * 20) for key in keys])
    for turn in range(10):
        column = ("payload", "payload_mac")[turn % 2]
        flip = (
            f"update ml_feature_store set {column} ="
            f" set_bit({column}, bit, 1 - get_bit({column}, bit))"
            f" from (select cache_key as k, abs(hashtext(cache_key || %s)) %% (length({column}) * 8) as bit"
            " from ml_feature_store) as dice where k = cache_key"
        )
        sql(flip, str(turn))
        assert hot.get_many("features", keys) == {}
        sql(flip, str(turn))
    assert len(hot.get_many("features", keys)) == 1000
    assert hot.counters.snapshot()["features", "corrupt", "postgres"] == 10_000


def test_days_are_made_ahead_and_entries_lie_in_them(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("before", ttl_seconds=DAY)])
    assert hot.make_days() >= 4
    assert hot.make_days() == 0
    hot.put_many([entry("after", ttl_seconds=DAY)])
    where = sql("select cache_key, tableoid::regclass::text from ml_feature_store")
    assert all("default" not in partition for _, partition in where)
    assert {key for key, _ in where} == {"before", "after"}


def test_without_a_partition_of_its_day_an_entry_is_stored_and_found_all_the_same(hot: HotTier, sql: Sql) -> None:
    hot.put_many([entry("k", ttl_seconds=300 * DAY)])
    assert data(hot, "k") == b"value"
    assert "default" in sql("select tableoid::regclass::text from ml_feature_store")[0][0]


def test_expired_days_are_dropped_whole_and_other_expired_rows_removed(hot: HotTier, sql: Sql) -> None:
    sql("select retention_add_day_partitions('ml_feature_store', current_date - 3, current_date + 2)")
    hot.put_many([entry(f"k{n}") for n in range(10)])
    sql(
        "update ml_feature_store set computed_at = now() - interval '9 days', expires_at = now() - interval '2 days',"
        " expires_on = ((now() - interval '2 days') at time zone 'UTC')::date where cache_key < 'k5'"
    )
    hot.put_many([entry("soon", ttl_seconds=2.0), entry("p", kind="predictions", ttl_seconds=2.0)])
    time.sleep(2.1)
    assert hot.purge_expired(keep_stale_seconds=30 * DAY) == 0
    assert sql("select count(*) from ml_feature_store") == [(11,)]
    assert hot.purge_expired() == 2
    assert sql("select count(*) from ml_feature_store") == [(5,)]
    assert sql(
        "select min(first_day) >= current_date from retention_partitions.days where parent = 'ml_feature_store'"
    ) == [(True,)]


def test_the_indexes_find_an_entry_among_many_after_many_batches(hot: HotTier) -> None:
    hot.put_many([entry(f"k{n}") for n in range(3000)])
    plan = hot.ask("explain (costs off) execute retention_get_features ('local', 'k7', 0)")
    assert any("Index" in line for (line,) in plan)


def test_a_process_holds_few_connections(hot: HotTier, sql: Sql) -> None:
    from concurrent.futures import ThreadPoolExecutor

    hot.put_many([entry("k")])
    lock = ProcessLock(hot)
    with ThreadPoolExecutor(32) as pool:
        got = list(pool.map(lambda n: (data(hot, "k"), lock.acquire(str(n), 0.0)), range(640)))
    assert {value for value, _ in got} == {b"value"}
    assert {turn for _, turn in got} == {"leader"}
    mine = sql(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and backend_type = 'client backend'"
    )
    # Besides these: the fixture's own.
    assert mine[0][0] <= READERS + 1 + 1 + 1
    lock.close()


def test_before_the_tables_are_there_the_tier_says_what_to_do(server: Server, tmp_path: Any) -> None:
    from retention_pipelines.settings import load_settings

    server.ensure_database()
    url = server.address().set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    host = server.address().query.get("host")
    settings = load_settings(
        {}, database_url=f"{url}?host={host}" if host else url, state_dir=tmp_path, cache_deadline_seconds=10.0
    )
    hot = HotTier(settings, counters=Counters())
    with pytest.raises(Unavailable, match="retention db upgrade") as raised:
        hot.get("features", "k")
    assert raised.value.reason == "not migrated"
    hot.close()


def test_an_embedded_server_that_was_never_made_is_not_made_by_a_lookup(tmp_path: Any) -> None:
    from retention_pipelines.settings import load_settings

    hot = HotTier(load_settings({}, state_dir=tmp_path / "state", cache_deadline_seconds=10.0), counters=Counters())
    with pytest.raises(Unavailable, match="retention db upgrade"):
        hot.get("features", "k")
    assert not (tmp_path / "state" / "postgres").exists()
    hot.close()


def test_a_wrong_password_is_told_without_the_password(external_url: str, tmp_path: Any) -> None:
    from sqlalchemy import make_url

    from retention_pipelines.settings import load_settings

    url = make_url(external_url).set(password="canary-9431", database="postgres")
    settings = load_settings(
        {}, database_url=url.render_as_string(hide_password=False), state_dir=tmp_path, cache_deadline_seconds=10.0
    )
    hot = HotTier(settings, counters=Counters())
    with pytest.raises(Unavailable) as raised:
        hot.get("features", "k")
    assert "canary-9431" not in f"{raised.value} {raised.value.__cause__!r}"
    hot.close()


def test_every_column_that_is_sent_is_a_column_of_its_table(sql: Sql) -> None:
    for table in HOT_TABLES.values():
        names = {
            name
            for (name,) in sql("select column_name from information_schema.columns where table_name = %s", table.name)
        }
        assert set(table.columns) | set(table.required) <= names
        with pytest.raises(psycopg.errors.NotNullViolation):
            sql(f"insert into {table.name} ({table.required[0]}) values ('x')")


def test_work_that_would_not_wait_for_a_lock_is_no_failure_of_the_store(hot: HotTier, database: Server) -> None:
    """Three days not made while somebody read at length, and nothing was written for half a second."""
    hot.put_many([entry("before")])

    def impatient(con: BoundedConnection) -> None:
        con.execute("set local lock_timeout = '10ms'")
        con.execute("select from ml_feature_store limit 1")

    with connect(database, role="owner", tenant="*") as owner:
        owner.execute("lock table ml_feature_store in access exclusive mode")
        for _ in range(4):
            with pytest.raises(Unavailable, match="deadline"):
                hot.change(impatient)
    assert hot.put_many([entry("after")]) == 1


def test_a_caller_who_watches_for_an_answer_still_ends_at_the_deadline(hot: HotTier) -> None:
    hot.put_many([entry("k")])
    # Long enough for a lone caller to begin to watch.
    assert {data(hot, "k") for _ in range(600)} == {b"value"}
    watching = Watching()

    def slow(con: BoundedConnection) -> None:
        con.execute("prepare slow (float8) as select pg_sleep($1)")
        con.looks, con.watching, con.ends = LOOKS, watching, time.monotonic() + 0.1
        con.answer(b"slow", (b"0",))
        con.answer(b"slow", (b"30",))

    with pytest.raises(Unavailable, match="deadline"):
        hot._readers.call(slow, seconds=5.0)
    assert watching._in_vain > 0
    assert data(hot, "k") == b"value"
