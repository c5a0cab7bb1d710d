"""One process of the kill test: `python -m tests.integration.lake_worker ROLE ROOT STATE SEED ACKNOWLEDGED`.

Roles: `new` and `plain` write and note in the file ACKNOWLEDGED what was acknowledged; `rewrite` and `compact` change
files without changing rows; `ingest` commits to two tables at once; `glob`, `catalog` and `views` read and check.
"""

import os
import random
import sys
import time

import duckdb

from retention_pipelines.errors import CommitConflict
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.reader import connect
from tests.unit.warehouse.rows import observations, rows

# Every writer of keys pushes the same ones, in its own order: the sequence is known to all.
KEYS = 100_000
BATCH = 50
MONTHS = ("2020-01", "2020-02", "2020-03")


def note(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def month_of(number: int) -> str:
    return MONTHS[number % len(MONTHS)]


def write(role: str, lake: Lake, random_: random.Random, acknowledged: str) -> None:
    table = lake.table("observations")
    if role == "new":
        # Both writers walk the same batches, so most keys are pushed twice.
        batch = int(time.time() * 5) % KEYS
        keys = [f"k{batch}-{number}" for number in range(BATCH)]
        table.append_new(observations(keys, month=month_of(batch)), key="record_hash", within="month")
        note(acknowledged, f"k{batch}")
    elif role == "plain":
        name = f"p{os.getpid()}-{random_.random()}"
        table.append(observations([f"{name}-{number}" for number in range(BATCH)], month=random_.choice(MONTHS)))
        note(acknowledged, name)
    elif role == "ingest":
        name = f"i{os.getpid()}-{random_.random()}"
        with lake.transaction(f"ingest:{name}") as op:
            for month in MONTHS[:2]:
                keys = [f"{name}-{month}-{number}" for number in range(BATCH // 2)]
                table.append(observations(keys, month=month), op=op)
            lake.table("ingested_files").append(rows("ingested_files", sha256=f"'{name}'"), op=op)
        note(acknowledged, name)
    elif role == "rewrite":
        table.rewrite(lambda text: f"select * replace (value + 1 as value) from {text}", op="rewrite")
        lake.publish()
    elif role == "compact":
        table.compact(min_files=4)
        lake.publish()
    time.sleep(0.3 if role in ("rewrite", "compact") else 0.02)


# In any one state every batch is whole; in any one published state a file is in the ledger with all its rows.
BATCHES = """
    select count(*) from (select regexp_replace(record_hash, '-[^-]*$', '') as batch, count(*) as n,
        count(distinct record_hash) as distinct_n from {} group by batch)
    where n != distinct_n or n != case when batch like 'i%' then 25 else 50 end
"""
FILES = """
    select count(*) from (select distinct regexp_extract(record_hash, '^(i.*?)-2020-', 1) as name
        from observations where record_hash like 'i%') as loaded
    full join (select sha256 as name from ingested_files) as ledger using (name)
    where loaded.name is null or ledger.name is null
"""


def read(role: str, settings: Settings) -> str:
    """ok, torn, or error for a clean error that a retry heals."""
    root = settings.lake_root
    if role == "glob":
        source = f"read_parquet('{root}/observations/**/*.parquet', hive_partitioning = true)"
        try:
            found = duckdb.connect().execute(BATCHES.format(source)).fetchall()
        except duckdb.IOException:
            return "error"
        return "ok" if found == [(0,)] else f"torn {found}"
    con = duckdb.connect(f"{root}/catalog.duckdb", read_only=True) if role == "catalog" else connect(settings)
    with con:
        found = con.execute(BATCHES.format("observations")).fetchall() + con.execute(FILES).fetchall()
    return "ok" if found == [(0,), (0,)] else f"torn {found}"


def main() -> None:
    role, root, state, seed, acknowledged = sys.argv[1:]
    settings = load_settings({}, lake_root=root, state_dir=state)
    random_ = random.Random(seed)
    if role in ("glob", "catalog", "views"):
        while True:
            note(acknowledged, read(role, settings))
            time.sleep(0.3)
    lake = Lake(settings)
    while True:
        try:
            write(role, lake, random_, acknowledged)
        except CommitConflict:
            note(f"{acknowledged}.conflicts", role)


if __name__ == "__main__":
    main()
