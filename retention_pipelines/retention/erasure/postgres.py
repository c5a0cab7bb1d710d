"""Taking a subject out of Postgres: cached answers, copies of the lake, counts, queues, graves, and what names it.

What belongs here: rows of Postgres, in steps that may each be repeated. What does not: the lake, files. Cached answers
name what they rest on only as digests, so all of them go, except what a legal hold keeps; they are computed again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, Engine, Table, and_, func, or_, select, text, tuple_, update
from sqlalchemy import delete as delete_rows

from retention_pipelines.postgres.tables import (
    ACCESS_COUNTS,
    BURIED_PARTITIONS,
    COLD_FILES,
    GRAVES,
    HOLDS,
    LEASES,
    METADATA,
    ML_FEATURE_STORE,
    ONLINE_FEATURES,
    ONLINE_LOADS,
    PINS,
    REGRETS,
    ROOTS,
    TOMBSTONES,
)
from retention_pipelines.retention.erasure.subject import Subject, without
from retention_pipelines.retention.filter import postgres as postgres_filter
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text as filter_text
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.plans.select_postgres import with_reads
from retention_pipelines.retention.policies.governed import INFERENCE_CACHE, TRAINING_CACHE, Governed, governed

# Tables that may name anything and that nothing depends on for long: rows that mention the subject go.
_TRANSIENT = (
    "access_counts",
    "access_log",
    "work_queue",
    "invalidation_log",
    *(one.name for one in GRAVES.values()),
    "plan_rows",
    "leases",
    "pins",
    "roots",
)
_CACHED = ("feature_store", "inference_cache", "training_cache")
CACHES = ("ml_feature_store", "ml_inference_cache", "ml_training_cache")
# What runs took out, and may be brought back.
_LISTS = (BURIED_PARTITIONS, COLD_FILES)
# What an order leaves: itself, and the audit, which holds no names and cannot be changed.
_NOT_SEARCHED = frozenset({"audit", "erasure_orders", "retention_migrations"})


@dataclass(frozen=True, kw_only=True)
class DatabaseErasure:
    """A subject in Postgres. The engine sees every tenant's rows and may delete everywhere."""

    engine: Engine
    subject: Subject

    def counts(self) -> dict[str, int]:
        """Rows that go, or are held, by table."""
        found: dict[str, int] = {}
        with self.engine.connect() as con:
            for name in CACHES:
                found[name] = int(con.execute(select(func.count()).select_from(METADATA.tables[name])).scalar_one())
            graves = (grave for relation, grave in GRAVES.items() if relation in CACHES)
            for table in (ONLINE_FEATURES, *graves, *_LISTS, TOMBSTONES):
                query = select(func.count()).select_from(table)
                if table in _LISTS:
                    query = query.where(table.c.relation.in_(CACHES))
                if table is TOMBSTONES:
                    query = query.where(table.c.dataset.in_(_CACHED))
                found[table.name] = int(con.execute(query).scalar_one())
            regretted = select(func.count()).select_from(REGRETS).where(REGRETS.c.dataset.in_(_CACHED))
            found["regrets"] = int(con.execute(regretted).scalar_one())
            if self.subject.kind == "dataset":
                served = text("select count(*) from aggregated_time_series where dataset_id = :value")
                found["aggregated_time_series"] = int(con.execute(served, {"value": self.subject.value}).scalar_one())
            for name in _TRANSIENT:
                if name not in found:
                    found[name] = self._mentions(con, name)
        return found

    def held_graves(self, held: Collection[str]) -> int:
        """Rows, partitions and files that runs took out of these tables: which of them a hold keeps cannot be told."""
        with self.engine.connect() as con:
            queries = [select(func.count()).where(table.c.relation.in_(held)) for table in _LISTS]
            queries += [select(func.count()).select_from(GRAVES[name]) for name in held if name in GRAVES]
            return sum(int(con.execute(query).scalar_one()) for query in queries)

    def held_entries(self) -> dict[str, list[tuple[Any, ...]]]:
        """Names of the cache entries that legal holds keep, by table."""
        with self.engine.connect() as con:
            return {
                dataset.table: [tuple(row) for row in con.execute(found)]
                for dataset in (INFERENCE_CACHE, TRAINING_CACHE)
                if (found := _held(con, dataset)) is not None
            }

    def remove(self, held: Mapping[str, list[tuple[Any, ...]]]) -> None:
        """Remove what goes; entries in `held` stay, and all that runs took out of their tables."""
        going = [name for name in CACHES if name not in held]
        with self.engine.begin() as con:
            self._forget_everywhere(con)
            con.execute(delete_rows(ML_FEATURE_STORE))
            for dataset in (INFERENCE_CACHE, TRAINING_CACHE):
                table = METADATA.tables[dataset.table]
                names = held.get(dataset.table, [])
                key = tuple_(*(table.c[column] for column in dataset.identity))
                con.execute(delete_rows(table).where(key.not_in(names)) if names else delete_rows(table))
            con.execute(delete_rows(ONLINE_FEATURES))
            con.execute(delete_rows(ONLINE_LOADS))
            for relation in set(going) & GRAVES.keys():
                con.execute(delete_rows(GRAVES[relation]))
            con.execute(
                delete_rows(ACCESS_COUNTS).where(ACCESS_COUNTS.c.dataset.in_(CACHES)) if not held else text("select 1")
            )
            # Digests of entries that are gone, the subject's among them: nobody can tell which.
            con.execute(delete_rows(TOMBSTONES).where(TOMBSTONES.c.dataset.in_(_CACHED)))
            con.execute(delete_rows(REGRETS).where(REGRETS.c.dataset.in_(_CACHED)))
            if self.subject.kind == "dataset":
                con.execute(
                    text("delete from aggregated_time_series where dataset_id = :value"), {"value": self.subject.value}
                )
            for table in (PINS, LEASES, ROOTS):
                self._spare(con, table)
            for name in (one for one in _TRANSIENT if not (held and one.startswith("graveyard_"))):
                driver(con).execute(
                    sql.SQL("delete from {table} as t where t::text ~* %s").format(table=sql.Identifier(name)),
                    (self.subject.database_pattern,),
                )
            driver(con).execute(
                "update holds as t set match = 'everything', reason = 'erased' where released_at is not null"
                " and t::text ~* %s",
                (self.subject.database_pattern,),
            )
        for name in self._buried(going):
            with self.engine.begin() as con:
                con.execute(text("select public.retention_drop_buried_partition(:name)"), {"name": name})

    def _spare(self, con: Connection, table: Table) -> None:
        """Take the subject out of pins, leases or roots that keep other things as well: those stay protected."""
        key = [column for column in table.primary_key.columns if column.name != "match"]
        for row in con.execute(select(table)).mappings().all():
            narrowed = without(parse(row["match"], governed(row["dataset"]).fields), self.subject.mentioned_in)
            if narrowed is None or (match := filter_text(narrowed)) == row["match"]:
                continue  # all of it goes, or nothing of it
            mine = and_(*(column == row[column.name] for column in key), table.c.match == row["match"])
            if table is ROOTS:
                others = and_(*(column == row[column.name] for column in key), table.c.match == match)
                con.execute(delete_rows(table).where(others))
            con.execute(update(table).where(mine).values(match=match))
        if "reason" in table.c:
            driver(con).execute(
                sql.SQL("update {table} as t set reason = 'erased' where t.reason ~* %s").format(
                    table=sql.Identifier(table.name)
                ),
                (self.subject.database_pattern,),
            )

    def _buried(self, relations: Collection[str]) -> list[str]:
        query = select(BURIED_PARTITIONS.c.buried_as).where(BURIED_PARTITIONS.c.relation.in_(relations))
        with self.engine.connect() as con:
            return list(con.scalars(query))

    @staticmethod
    def _forget_everywhere(con: Connection) -> None:
        """Let every process forget all it has in memory; see `cache/invalidation.py`."""
        con.execute(text("insert into invalidation_log (scope) values ('all')"))

    def mentions(self) -> dict[str, int]:
        """Rows whose text mentions the subject, by table: what an erasure left behind."""
        if not self.subject.can_be_mentioned:
            return {}
        with self.engine.connect() as con:
            return {
                name: n
                for name, table in METADATA.tables.items()
                if name not in _NOT_SEARCHED and (n := self._mentions(con, table.name))
            }

    def _mentions(self, con: Connection, table: str) -> int:
        found = driver(con).execute(
            sql.SQL("select count(*) from {table} as t where t::text ~* %s").format(table=sql.Identifier(table)),
            (self.subject.database_pattern,),
        )
        row = found.fetchone()
        return int(row[0]) if row else 0


def _held(con: Connection, dataset: Governed) -> Any:
    """Names of the entries that holds in force keep; None where there are none."""
    matches = con.scalars(
        select(HOLDS.c.match).where(HOLDS.c.dataset == dataset.name, HOLDS.c.released_at.is_(None))
    ).all()
    if not matches:
        return None
    source, columns = with_reads(dataset)
    table = METADATA.tables[dataset.table]
    conditions = [
        postgres_filter.expression(parse(match, dataset.fields), columns, dataset.fields) for match in matches
    ]
    # In doubt a hold keeps.
    return (
        select(*(table.c[name] for name in dataset.identity))
        .select_from(source)
        .where(or_(*(or_(one, one.is_(None)) for one in conditions)))
    )
