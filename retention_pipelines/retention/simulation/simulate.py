"""What-if: the recorded reads replayed, day by day, under the policies in force and under others.

A row that a policy lets go and that was read on a later day is a regret: it would have been computed again, which is
paid in seconds where they were measured, and then lived from that day on. Nothing is changed: all of it happens in
temporary tables.

What a replay cannot know: rows that are gone already, and earlier contents of entries that were computed again since.
What does not belong here: recording reads (`cache/access.py`), the real plans (`planning.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from duckdb import ColumnExpression, ConstantExpression
from sqlalchemy import BigInteger, DateTime, Float, Text, func, literal, literal_column, null, select
from sqlalchemy import cast as sql_cast

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.ast import Kind
from retention_pipelines.retention.plans.lake_rows import counted_reads, rows_of
from retention_pipelines.retention.plans.planning import Planner
from retention_pipelines.retention.plans.select_lake import Rules, table_of
from retention_pipelines.retention.plans.select_postgres import with_reads
from retention_pipelines.retention.policies.compiled import duckdb_columns
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.policies.policy import Policy, PolicySet
from retention_pipelines.retention.simulation.access_log import logged_reads, tenant_key
from retention_pipelines.warehouse.duck import statement

_PACKAGE = "retention_pipelines.retention.simulation"
_BATCH = 50_000
_ARROW = {
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.float64(),
    Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    Kind.BOOLEAN: pa.bool_(),
}
_COUNTED = ("access_count", "last_accessed_at")
_LIFE = ("computed_at", "expires_at")
_GIVEN: dict[str, pa.DataType] = {
    "key": pa.string(),
    "size_bytes": pa.float64(),
    "compute_seconds": pa.float64(),
    "known_hits": pa.int64(),
    "known_last": _ARROW[Kind.INSTANT],
    "computed_at": _ARROW[Kind.INSTANT],
    "expires_at": _ARROW[Kind.INSTANT],
}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """What happened on a day of a replay, and what there was at its end."""

    day: date
    rows: int
    removed: int
    freed_bytes: int
    regrets: int
    recompute_seconds: float


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A replay under one set of policies.

    Attributes:
        rows: of the dataset; each is either kept or gone at the end.
        removed, returned: rows that went, and of them those that were asked for and computed again; a row may do both
            several times.
        freed_bytes: of the rows that are gone at the end.
        regrets: of those that returned, those whose own end was not over: the policy took them.
        recompute_seconds: what computing regretted rows again cost, where it was measured.
        unmeasured_regrets: regrets of which nobody knows what they cost.
    """

    rows: int
    kept: int
    gone: int
    removed: int
    returned: int
    freed_bytes: int
    regrets: int
    recompute_seconds: float
    unmeasured_regrets: int
    days: tuple[Day, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The policies in force and others over the same reads.

    Attributes:
        logged_days: days of the replay with a logged read; without any, regrets say nothing.
    """

    dataset: str
    first_day: date
    last_day: date
    logged_days: int
    current: Replay
    proposed: Replay

    def sentence(self) -> str:
        """The difference, for a person about to save the policies."""
        more = self.proposed.gone - self.current.gone
        freed = self.proposed.freed_bytes - self.current.freed_bytes
        span = f"Replaying {len(self.proposed.days)} days"
        if self.proposed.days == self.current.days:
            return f"{span}: no difference."
        said = f"{span}: {abs(more):,} {'more' if more >= 0 else 'fewer'} rows of {self.dataset} gone, "
        said += f"{abs(freed):,} bytes {'more' if freed >= 0 else 'less'} freed"
        if not self.logged_days:
            return f"{said}; no read was logged, so nobody can say what would be missed."
        regrets = self.proposed.regrets - self.current.regrets
        seconds = self.proposed.recompute_seconds - self.current.recompute_seconds
        unknown = self.proposed.unmeasured_regrets or self.current.unmeasured_regrets
        paid = f"{seconds:+,.1f} s of computing paid again" + (", where it was measured" if unknown else "")
        return f"{said}, {regrets:+,} regrets, {paid}."


def simulate(
    planner: Planner,
    proposed: Sequence[Policy],
    *,
    days: int,
    as_of: datetime | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[Comparison, ...]:
    """Replay the last days under `proposed`, which replaces the policies of every dataset it names.

    `progress` is told the dataset, the days done and all days.
    """
    if days < 1:
        raise PolicyError(f"{days} days cannot be replayed.", hint="Give at least 1.")
    names = list(dict.fromkeys(policy.dataset for policy in proposed))
    if not names:
        raise PolicyError("There are no policies to replay.", hint="The file names none.")
    instant = as_of or planner.as_of()
    return tuple(
        _compare(planner, governed(name), PolicySet.of(name, tuple(proposed)), days, instant, progress)
        for name in names
    )


def _compare(
    planner: Planner, dataset: Governed, proposed: PolicySet, days: int, as_of: datetime, progress: Progress
) -> Comparison:
    current = planner.registry.policy_set(dataset.name)
    protections = in_order(planner.protections(dataset, as_of))
    last = as_of.astimezone(UTC).date()
    first = last - timedelta(days=days - 1)
    log = logged_reads(planner.engine, dataset, first)
    asked = {*_asked(dataset, current, protections), *_asked(dataset, proposed, protections)}
    fields = [
        name
        for name in dataset.fields
        if name in asked | set(_LIFE) and dataset.sources.get(name, name) not in _COUNTED
    ]
    con = planner.lake.con.cursor()
    try:
        con.execute("set timezone = 'UTC'")
        _load(con, planner, dataset, fields, log)
        logged = con.execute("select count(distinct day) from _sim_log").fetchall()[0][0]
        replays = []
        for number, policies in enumerate((current, proposed)):

            def told(done: int, number: int = number) -> None:
                progress(dataset.name, number * days + done, 2 * days)

            replays.append(_replay(con, dataset, policies, protections, first, days, as_of, told))
    finally:
        con.close()
    return Comparison(
        dataset=dataset.name,
        first_day=first,
        last_day=last,
        logged_days=logged,
        current=replays[0],
        proposed=replays[1],
    )


# -- loading ----------------------------------------------------------------------------------------------------------


def _load(
    con: duckdb.DuckDBPyConnection, planner: Planner, dataset: Governed, fields: Sequence[str], log: pa.Table
) -> None:
    """Temp tables `_sim_log`, and `_sim_base`: the rows as they are."""
    con.register("_sim_given", log)
    con.execute("create or replace temp table _sim_log as select * from _sim_given")
    con.unregister("_sim_given")
    if dataset.store == "lake":
        _load_lake(con, planner, dataset, fields)
    else:
        _load_postgres(con, planner, dataset, fields)
    con.execute(statement(_PACKAGE, "simulated_base"))


def _load_lake(con: duckdb.DuckDBPyConnection, planner: Planner, dataset: Governed, fields: Sequence[str]) -> None:
    table = table_of(planner.lake, dataset)
    files = table.files()
    rows = sum(file.rows for file in files)
    each = sum(file.bytes for file in files) / rows if rows else 0.0
    key = dataset.read_key or dataset.identity[0]
    reads = planner.reads(dataset) if dataset.read_key else None
    with counted_reads(con, reads):
        found = rows_of(con, table, files, dataset, fields=fields, kept=[] if key in fields else [key])
        found.select(
            ColumnExpression(key).cast("VARCHAR").alias("key"),
            ConstantExpression(each).cast("DOUBLE").alias("size_bytes"),
            ConstantExpression(None).cast("DOUBLE").alias("compute_seconds"),
            *(ConstantExpression(None).cast("TIMESTAMPTZ").alias(name) for name in _LIFE if name not in fields),
            *map(ColumnExpression, fields),
        ).create_view("_sim_rows", replace=True)
        con.execute(statement(_PACKAGE, "simulated_lake"))


def _load_postgres(con: duckdb.DuckDBPyConnection, planner: Planner, dataset: Governed, fields: Sequence[str]) -> None:
    table = METADATA.tables[dataset.table]
    source, known = with_reads(dataset)
    size = table.c.size_bytes if "size_bytes" in table.c else func.pg_column_size(literal_column(f"{table.name}.*"))
    key = sql_cast(table.c[dataset.read_key or dataset.identity[-1]], Text)
    counted = _counted_field(dataset)
    columns: dict[str, Any] = {
        "key": tenant_key(table.c.tenant, key) if "tenant" in table.c else key,
        "size_bytes": sql_cast(size, Float),
        "compute_seconds": sql_cast(known.get("compute_seconds", null()), Float),
        "known_hits": sql_cast(known[counted], BigInteger) if counted else literal(0),
        "known_last": known.get("last_accessed_at", sql_cast(null(), DateTime(timezone=True))),
        **{name: sql_cast(null(), DateTime(timezone=True)) for name in _LIFE if name not in fields},
        **{name: known[name] for name in fields if name != "compute_seconds"},
    }
    kinds = {name: _ARROW[kind] for name, kind in dataset.fields.items()} | _GIVEN
    schema = pa.schema([(name, kinds[name]) for name in columns])
    con.register("_sim_empty", schema.empty_table())
    con.execute("create or replace temp table _sim_found as select * from _sim_empty")
    con.unregister("_sim_empty")
    query = select(*(column.label(name) for name, column in columns.items())).select_from(source)
    with planner.engine.connect().execution_options(stream_results=True) as database:
        for rows in database.execute(query).partitions(_BATCH):
            values = dict(zip(columns, zip(*rows, strict=True), strict=True))
            batch = pa.table(
                {name: pa.array([_plain(one) for one in values[name]], kinds[name]) for name in columns}, schema=schema
            )
            con.register("_sim_batch", batch)
            con.execute("insert into _sim_found select * from _sim_batch")
            con.unregister("_sim_batch")


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _counted_field(dataset: Governed) -> str | None:
    """The field that counts reads."""
    return next((name for name in dataset.fields if dataset.sources.get(name, name) == "access_count"), None)


# -- replaying --------------------------------------------------------------------------------------------------------


def _replay(
    con: duckdb.DuckDBPyConnection,
    dataset: Governed,
    policies: PolicySet,
    protections: Sequence[Protection],
    first: date,
    days: int,
    as_of: datetime,
    told: Callable[[int], None],
) -> Replay:
    con.execute("create or replace temp table _sim_rows as select * from _sim_base")
    own_end = [place for place, one in enumerate(policies.policies) if one.anchor == "expires_at"]
    counted = _counted_field(dataset)
    happened: list[Day] = []
    unmeasured = returned_at_all = 0
    for number in range(days):
        day = first + timedelta(days=number)
        end = min(datetime.combine(day + timedelta(days=1), time(), UTC), as_of)
        began = datetime.combine(first, time(), UTC)
        con.execute(statement(_PACKAGE, "simulated_clock"), {"day": day, "as_of": end, "log_began": began})
        con.execute(statement(_PACKAGE, "simulated_reads"))
        con.execute(statement(_PACKAGE, "simulated_returns"))
        returned, regrets, seconds, unknown = con.execute(statement(_PACKAGE, "simulated_regrets")).fetchall()[0]
        con.execute(statement(_PACKAGE, "simulated_back"))
        con.execute(statement(_PACKAGE, "simulated_now"))
        renamed = {"last_accessed_at": "last_read_then"} | ({counted: "reads_then"} if counted else {})
        now = con.table("_sim_now").select(
            ColumnExpression("n"),
            *(ColumnExpression(renamed.get(name, name)).alias(name) for name in _asked(dataset, policies, protections)),
        )
        decision = duckdb_columns(dataset.fields, policies, protections, end).named()
        now.select(
            ColumnExpression("n"),
            decision["expired"].alias("expired"),
            decision["policy"].isin(*map(ConstantExpression, own_end)).alias("own_end")
            if own_end
            else ConstantExpression(False).alias("own_end"),
        ).create_view("_sim_decided_now", replace=True)
        con.execute("create or replace temp table _sim_decided as select * from _sim_decided_now where expired")
        removed, freed = con.execute(statement(_PACKAGE, "simulated_freed")).fetchall()[0]
        con.execute(statement(_PACKAGE, "simulated_gone"))
        rows = con.execute("select count(*) from _sim_now").fetchall()[0][0]
        unmeasured += unknown
        returned_at_all += returned
        happened.append(
            Day(
                day=day,
                rows=rows,
                removed=removed,
                freed_bytes=round(freed),
                regrets=regrets,
                recompute_seconds=seconds,
            )
        )
        told(number + 1)
    total, gone, bytes_gone = con.execute(statement(_PACKAGE, "simulated_end")).fetchall()[0]
    return Replay(
        rows=total,
        kept=total - gone,
        gone=gone,
        removed=sum(one.removed for one in happened),
        returned=returned_at_all,
        freed_bytes=round(bytes_gone),
        regrets=sum(one.regrets for one in happened),
        recompute_seconds=sum(one.recompute_seconds for one in happened),
        unmeasured_regrets=unmeasured,
        days=tuple(happened),
    )


def _asked(dataset: Governed, policies: PolicySet, protections: Sequence[Protection]) -> list[str]:
    """The fields that deciding looks at."""
    rules = Rules(
        dataset=dataset,
        policies=policies,
        protections=tuple(protections),
        as_of=datetime.min.replace(tzinfo=UTC),
        action="delete",
        only=None,
    )
    return sorted(rules.named())
