"""Online features against bare prepared SELECTs on a connection of the same kind, in the same run; loading hot rows."""

import argparse
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from retention_pipelines.catalog.features import FEATURE_COLUMNS, FEATURE_STORE
from retention_pipelines.features.hot_rows import entity_digest, load_hot_rows
from retention_pipelines.features.reads import read_counter
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.postgres import address
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

KINDS = ("environmental", "species")
FEATURES = [
    *("temperature_degc", "salinity_psu", "oxygen_saturation_percent", "chlorophyll_mg_m3", "temperature_n"),
    *(
        "is_upwelling",
        "upwelling_index",
        "productivity_class",
        "surface_temperature_degc",
        "environmental.quality_score",
    ),
]
_ONE = "select payload from online_features where tenant = 'local' and entity = %s and feature_type = 'environmental'"
_MANY = (
    "select entity, payload from online_features"
    " where tenant = 'local' and entity = any(%s) and feature_type = 'environmental'"
)
_VALUES = {
    "VARCHAR": "'text ' || i % 100",
    "DOUBLE": "random()",
    "INTEGER": "(i % 9 + 1)::integer",
    "BIGINT": "i::bigint",
    "BOOLEAN": "i % 2 = 0",
    "TIMESTAMP WITH TIME ZONE": "event",
}


def study(number: int) -> str:
    return f"survey/haul-{number}"


def feature_rows(kind: str, studies: int) -> str:
    """A SELECT of feature rows, one a study, over two years."""
    own = {column.name for column in FEATURE_COLUMNS[kind]}
    others = {column.name for columns in FEATURE_COLUMNS.values() for column in columns} - own
    given = {
        "feature_type": f"'{kind}'",
        "feature_id": f"'survey/haul-' || i || '/{kind}'",
        "feature_hash": f"md5('{kind}' || i)",
        "source_data_id": "'survey/haul-' || i",
        "version": "1",
        "moved": "false",
        "month": "strftime(event, '%Y-%m')",
    }
    parts = []
    for column in FEATURE_STORE.columns:
        value = f"'{column.allowed[0]}'" if column.allowed else _VALUES[column.type.value]
        if column.name in own and column.type.value == "DOUBLE":
            value = "case when i % 5 = 0 then null else random() end"
        value = f"null::{column.type.value}" if column.name in others else given.get(column.name, value)
        parts.append(f'{value} as "{column.name}"')
    events = f"select i, timestamptz '2020-01-01' + i % 730 * interval 1 day as event from range({studies}) as t(i)"
    return f"select {', '.join(parts)} from ({events})"


def interleaved(works: dict[str, Callable[[int], object]], *, calls: int, rounds: int = 7) -> dict[str, float]:
    """Median microseconds of each, in turns, so that other load falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds):
        for name, work in works.items():
            spent = []
            for call in range(calls):
                begun = time.perf_counter()
                work(turn * calls + call)
                spent.append(time.perf_counter() - begun)
            times[name].append(statistics.median(spent) * 1e6)
    return {name: statistics.median(medians) for name, medians in times.items()}


def run(studies: int, calls: int) -> list[str]:
    lines = []
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        settings = load_settings(
            {}, lake_root=f"{folder}/lake", state_dir=Path(folder) / "state", cache_deadline_seconds=10
        )
        with Lake(settings) as lake, open_server(settings) as server:
            upgrade_server(server)
            for kind in KINDS:
                lake.table("feature_store").append(feature_rows(kind, studies))
            seal = Seal(load_secret(settings))
            rates, floors, cpu = [], [], []
            for turn in range(3):
                floors.append(2 * studies / bare_load(address.conninfo(server.address(role="service")), 2 * studies))
                begun, own = time.perf_counter(), time.process_time()
                done = load_hot_rows(lake, server, tenant=f"t{turn}", seal=seal)
                rates.append(done.rows_written / (time.perf_counter() - begun))
                cpu.append(time.process_time() - own)
            rate, floor = statistics.median(rates), statistics.median(floors)
            lines += [
                f"load {done.rows_written:,} hot rows: {rate:,.0f} rows/s, best {max(rates):,.0f}",
                f"  target 100,000 or more; COPY and INSERT of as many rows of that size: {floor:,.0f} rows/s",
                f"  own CPU {min(cpu):.2f} s, {done.rows_written / min(cpu):,.0f} rows per CPU second",
            ]
            load_hot_rows(lake, server, tenant="local", seal=Seal(load_secret(settings)))
            begun = time.perf_counter()
            load_hot_rows(lake, server, tenant="local", seal=Seal(load_secret(settings)))
            lines.append(f"  nothing new: {(time.perf_counter() - begun) * 1000:.0f} ms")
            lines += reads(lake, address.conninfo(server.address(role="service", tenant="local")), studies, calls)
            counter = read_counter(settings)
            if counter is not None:
                # What was read is counted behind the readers: later it would start the server in a folder that goes.
                counter.close()
            server.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*lines, f"  peak memory: {peak:,.0f} MB"]


def bare_load(conninfo: str, rows: int) -> float:
    """Seconds to COPY made-up rows of that size and INSERT them into a table with the same key: what Postgres takes."""
    payload = bytes(350)
    with psycopg.connect(conninfo) as con, con.cursor() as cursor:
        cursor.execute("create temp table came (entity uuid, payload bytea) on commit drop")
        cursor.execute(
            "create temp table held (tenant text, entity uuid, feature_type text, payload bytea,"
            " primary key (tenant, entity, feature_type)) on commit drop"
        )
        size = len(payload).to_bytes(4, "big")
        begun = time.perf_counter()
        with cursor.copy("copy came from stdin (format binary)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for first in range(0, rows, 20_000):
                parts = []
                for number in range(first, min(first + 20_000, rows)):
                    parts += (
                        b"\0\x02\0\0\0\x10",
                        (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "big"),
                        size,
                        payload,
                    )
                copy.write(b"".join(parts))
            copy.write(b"\xff\xff")
        cursor.execute("insert into held select 'local', entity, 'environmental', payload from came order by entity")
        con.commit()
        return time.perf_counter() - begun


def reads(lake: Lake, conninfo: str, studies: int, calls: int) -> list[str]:
    store = FeatureStore(lake)
    names = [study(number) for number in range(studies)]
    entities = [uuid.UUID(bytes=entity_digest(name)) for name in names]

    def some(all_of: list, call: int) -> list:
        first = call * 101 % (studies - 100)
        return all_of[first : first + 100]

    with psycopg.connect(conninfo, autocommit=True) as con:
        con.execute("analyze")
        cursor = con.cursor(binary=True)
        one = interleaved(
            {
                "bare": lambda i: cursor.execute(_ONE, (entities[i * 101 % studies],), prepare=True).fetchone(),
                "online": lambda i: store.online(names[i * 101 % studies], FEATURES),
                "table": lambda i: store.online(names[i * 101 % studies], FEATURES).table,
            },
            calls=calls,
        )
        many = interleaved(
            {
                "bare": lambda i: cursor.execute(_MANY, (some(entities, i),), prepare=True).fetchall(),
                "online": lambda i: store.online(some(names, i), FEATURES),
                "table": lambda i: store.online(some(names, i), FEATURES).table,
            },
            calls=max(20, calls // 10),
        )
        found = store.online(some(names, 0), FEATURES)
        assert set(found.origins["environmental"]) == {"postgres"}
    bare_one, bare_many = one["bare"], many["bare"]
    return [
        f"one study, {len(FEATURES)} features: {one['online']:.0f} us; bare prepared SELECT: {bare_one:.0f} us",
        f"  ratio {one['online'] / bare_one:.2f} (target 2 at most); as an Arrow table {one['table'] / bare_one:.2f}",
        f"100 studies: {many['online']:.0f} us; one bare `= any`: {bare_many:.0f} us",
        f"  ratio {many['online'] / bare_many:.2f} (target under 3); as an Arrow table {many['table'] / bare_many:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    print(*run(20_000 if small else 150_000, 300 if small else 1_000), sep="\n")


if __name__ == "__main__":
    main()
