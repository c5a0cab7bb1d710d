"""Plans made under pressure: of what policy lets go anyway, the least valuable, and no more than is wanted.

A plan like any other, sealed, guarded and re-checked when it runs; `Plan.haste` says what pressure changed. What does
not belong here: how short storage is (`state.py`), the order of what goes (`relief.py`), executing (`run.py`).

What pressure may do, on the side of keeping:
- a row goes early by at most `RETENTION_PRESSURE_FORWARD_SHARE` of the time its policy keeps it; an entry with an end
  of its own never goes before it; rows of policies that do something else than delete stay;
- what has expired goes first, and where that is enough nothing goes early;
- while writing has stopped only expired rows go, with a grace of at most `RETENTION_FULL_DISK_GRACE_HOURS`, so that
  space comes back; only when none are left may others go early, and those have the whole grace of their policy.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from duckdb import ColumnExpression
from sqlalchemy import BigInteger, Float, Text, cast, extract, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import REGCLASS

from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.plans.lake_rows import counted_reads
from retention_pipelines.retention.plans.plan import Haste, Plan, hastened, seal
from retention_pipelines.retention.plans.planning import Planner
from retention_pipelines.retention.plans.select_lake import Rules, decided, folder, partition_name, table_of
from retention_pipelines.retention.plans.select_postgres import count_over, with_reads
from retention_pipelines.retention.plans.select_postgres import decided as decided_in_postgres
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.retention.pressure.relief import Candidate, Level, relieve
from retention_pipelines.retention.pressure.state import PressureState, row_bytes
from retention_pipelines.retention.pressure.value import Measured, value_per_byte
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.duck import statement

# Rows looked at one by one, those of the oldest anchors: this many take some hundred megabytes.
MOST_ROWS = 500_000
_DAYS = "retention_partitions."


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """What a dataset could give, by a plan of all of it.

    Attributes:
        for_disk: what gives the disk something back.
        for_budget: what makes the dataset smaller; empty where it is not over its budget.
    """

    plan: Plan
    haste: Haste
    for_disk: tuple[Candidate, ...]
    for_budget: tuple[Candidate, ...]


def plan_relief(
    planner: Planner, settings: Settings, state: PressureState, *, as_of: datetime | None = None
) -> Mapping[str, Plan]:
    """By dataset, the plans by which enough goes; a dataset of which nothing may or need go is not in it.

    What a dataset is over its budget goes from that dataset. What a disk wants beyond that goes from all that lie on
    it, by lowest value per byte, whichever dataset it is of.
    """
    instant = as_of or planner.as_of()
    offers = _offers(planner, settings, state, instant)
    chosen: dict[str, dict[str, int]] = {name: {} for name in offers}
    for one in state.sizes:
        if one.over_bytes and one.dataset in offers:
            _take({one.dataset: offers[one.dataset].for_budget}, chosen, one.over_bytes)
    for disk in state.disks:
        mine = {name: offers[name].for_disk for name in disk.datasets if name in offers}
        taken = sum(
            one.size_bytes for name, candidates in mine.items() for one in candidates if one.target in chosen[name]
        )
        _take(mine, chosen, disk.bytes_to_free - taken)
    return {
        name: _restricted(offers[name].plan, replace(offers[name].haste, bytes_to_free=sum(targets.values())), targets)
        for name, targets in chosen.items()
        if targets
    }


def _take(candidates: Mapping[str, Sequence[Candidate]], chosen: dict[str, dict[str, int]], bytes_to_free: int) -> None:
    """Choose among what was not chosen yet until that many bytes go."""
    pool = {
        f"{name}\0{one.target}": (name, one)
        for name, offered in candidates.items()
        for one in offered
        if one.target not in chosen[name]
    }
    for target in relieve((replace(one, target=key) for key, (_, one) in pool.items()), bytes_to_free).targets:
        name, one = pool[target]
        chosen[name][one.target] = one.size_bytes


def _offers(planner: Planner, settings: Settings, state: PressureState, as_of: datetime) -> dict[str, _Offer]:
    full = {name for disk in state.disks if disk.level is Level.FULL for name in disk.datasets}
    now_only = Haste(
        level=state.level,
        forward_share=0.0,
        bytes_to_free=0,
        grace_seconds=round(settings.full_disk_grace_hours * 3600),
    )
    early = Haste(level=state.level, forward_share=settings.pressure_forward_share, bytes_to_free=0, grace_seconds=None)
    over = {one.dataset for one in state.sizes if one.over_bytes}
    found = {
        name: _offer(planner, governed(name), now_only if name in full else early, as_of, by_row=name in over)
        for name in state.datasets
    }
    if not any((*offer.for_disk, *offer.for_budget) for name, offer in found.items() if offer and name in full):
        for name in full & set(found):
            found[name] = _offer(planner, governed(name), early, as_of, by_row=name in over)
    return {name: offer for name, offer in found.items() if offer}


def _offer(planner: Planner, dataset: Governed, haste: Haste, as_of: datetime, *, by_row: bool) -> _Offer | None:
    policies = planner.registry.policy_set(dataset.name)
    if not policies.places("delete"):
        return None
    early = hastened(policies, haste)
    whole = planner.plan_with(dataset, early, as_of, "delete", None)
    protections = in_order(planner.protections(dataset, as_of))
    newest = _newest(planner, dataset, whole)
    rows: list[Candidate] = []
    if dataset.store == "lake":
        whole_ones = _lake_candidates(planner, dataset, policies, early, protections, whole, newest)
    else:
        whole_ones = _dropped(planner, dataset, early, whole, newest)
        if by_row or dataset.store == "files":
            dropped = {one.target for one in whole_ones}
            rows = _row_candidates(planner, dataset, policies, early, protections, whole, newest | dropped)
    # A DELETE in Postgres gives the disk nothing back, so only a budget asks for single rows there.
    for_disk = (*whole_ones, *rows) if dataset.store == "files" else tuple(whole_ones)
    for_budget = (*_by_their_rows(planner, dataset, whole_ones), *rows) if by_row else ()
    return _Offer(plan=whole, haste=haste, for_disk=for_disk, for_budget=for_budget)


def _by_their_rows(planner: Planner, dataset: Governed, whole_ones: Sequence[Candidate]) -> Sequence[Candidate]:
    """Day partitions with the bytes of their rows, which a budget counts, not those of their relations."""
    if dataset.store != "postgres" or not whole_ones:
        return whole_ones
    table = METADATA.tables[dataset.table]
    partition = cast(cast(literal_column(f"{table.name}.tableoid"), REGCLASS), Text)
    query = select(partition, func.sum(row_bytes(dataset))).select_from(table).group_by(partition)
    with planner.engine.connect() as con:
        sizes = {name: int(size) for name, size in con.execute(query)}
    return [replace(one, size_bytes=sizes.get(one.target, 0)) for one in whole_ones]


def _restricted(whole: Plan, haste: Haste, chosen: Collection[str]) -> Plan:
    """The plan of only those partitions and rows."""
    by_row = pc.is_in(whole.rows["row_id"], pa.array(sorted(chosen), pa.string()))
    by_partition = pc.is_in(whole.rows["partition"], pa.array(sorted(chosen), pa.string()))
    rows = whole.rows.filter(pc.or_(by_row, by_partition))
    left = {name: count.as_py() for name, count in _count_by_partition(rows)}
    partitions = []
    for one in whole.partitions:
        if one.fate == "drop" and one.partition not in chosen:
            partitions.append(replace(one, fate="leave"))
        elif one.fate == "rewrite":
            count = left.get(one.partition, 0)
            partitions.append(replace(one, expired=count, fate="rewrite" if count else "keep"))
        else:
            partitions.append(one)
    return seal(
        dataset=whole.dataset,
        action=whole.action,
        only=None,
        as_of=whole.as_of,
        policies=whole.policies,
        protections=whole.protections,
        store_version=whole.store_version,
        partitions=partitions,
        counts=whole.counts,
        rows=rows,
        haste=haste,
    )


def _count_by_partition(rows: pa.Table) -> list[tuple[str, Any]]:
    counted = rows.group_by("partition").aggregate([("row_id", "count")])
    return list(zip(counted["partition"].to_pylist(), counted["row_id_count"], strict=True))


def _newest(planner: Planner, dataset: Governed, plan: Plan) -> frozenset[str]:
    """Partitions of time that pressure leaves alone: the newest of each series of them."""
    names = [one.partition for one in plan.partitions]
    if dataset.store == "lake":
        parted = table_of(planner.lake, dataset).dataset.partition_by
        if not parted:
            return frozenset()
        heads = sorted((name.rpartition("/")[0], name) for name in names)
        return frozenset(max(name for _, name in group) for _, group in groupby(heads, key=lambda pair: pair[0]))
    days = [name for name in names if name.startswith(_DAYS) and not name.endswith("_default")]
    return frozenset([max(days)] if days else [])


def _lake_candidates(
    planner: Planner,
    dataset: Governed,
    policies: PolicySet,
    early: PolicySet,
    protections: Sequence[Protection],
    whole: Plan,
    newest: frozenset[str],
) -> list[Candidate]:
    """Partitions, with how often what goes of them was read; what computing features took is not measured by row."""
    lake = planner.lake
    table, con = table_of(lake, dataset), lake.con
    parted = table.dataset.partition_by
    plans = {one.partition: one for one in whole.partitions if one.fate in ("drop", "rewrite")}
    plans = {name: one for name, one in plans.items() if name not in newest}
    files = [file for file in table.files(version=whole.store_version) if folder(file, parted) in plans]
    if not files:
        return []
    key = dataset.read_key or dataset.identity[0]
    rules = Rules(
        dataset=dataset, policies=early, protections=tuple(protections), as_of=whole.as_of, action="delete", only=None
    )
    keeps = pa.table(
        {
            "place": pa.array(range(len(policies.policies)), pa.int32()),
            "keep_seconds": pa.array([one.keep_seconds for one in policies.policies], pa.int64()),
        }
    )
    reads = planner.reads(dataset) if dataset.read_key else None
    with counted_reads(con, reads):
        con.register("_retention_keeps", keeps)
        going = decided(con, table, files, rules, [key])
        going.filter(ColumnExpression("decided_expired")).select(
            partition_name(parted).alias("partition"),
            ColumnExpression(key).cast("VARCHAR").alias("read_key"),
            ColumnExpression("decided_policy").alias("policy"),
            ColumnExpression("decided_anchored_at").alias("anchored_at"),
        ).create_view("_retention_pressed", replace=True)
        found = con.execute(statement("retention_pipelines.retention.pressure", "pressed_lake")).fetchall()
        con.unregister("_retention_keeps")
    at = whole.as_of.timestamp()
    return [
        Candidate(
            target=name,
            size_bytes=round(plans[name].size_bytes * count / plans[name].rows),
            value_per_byte=None,
            reads=int(hits),
            expires_in_seconds=(expires or at) - at,
        )
        for name, count, hits, expires in found
    ]


def _dropped(
    planner: Planner, dataset: Governed, early: PolicySet, whole: Plan, newest: frozenset[str]
) -> list[Candidate]:
    """Day partitions that go whole, the oldest first; those of which nobody is served a row are worth nothing."""
    found = {one.partition: one for one in whole.partitions if one.fate == "drop" and one.partition not in newest}
    over = count_over(planner.engine, dataset, early, whole.as_of) if found else {}
    return [
        Candidate(
            target=name,
            size_bytes=found[name].size_bytes,
            value_per_byte=0.0 if over.get(name) == found[name].rows else None,
            expires_in_seconds=float(place - len(found)),
        )
        for place, name in enumerate(sorted(found))
    ]


def _row_candidates(
    planner: Planner,
    dataset: Governed,
    policies: PolicySet,
    early: PolicySet,
    protections: Sequence[Protection],
    whole: Plan,
    left_out: frozenset[str],
) -> list[Candidate]:
    """Single rows outside of some partitions, with what they took to compute and how often they were read."""
    candidates = []
    _, fields = with_reads(dataset)
    query = decided_in_postgres(dataset, early, protections, whole.as_of, "delete", None)
    known = query.selected_columns
    hits = fields.get("hit_count", fields.get("access_count", literal(0)))
    computed = fields.get("computed_at", literal(None))
    rows = (
        query.with_only_columns(
            known["partition"],
            known["row_id"],
            known["policy"],
            cast(extract("epoch", known["anchored_at"]), Float).label("anchored"),
            cast(row_bytes(dataset), BigInteger).label("size"),
            cast(fields.get("compute_seconds", literal(None)), Float).label("compute_seconds"),
            cast(hits, BigInteger).label("hits"),
            cast(extract("epoch", literal(whole.as_of) - computed), Float).label("age"),
            maintain_column_froms=True,
        )
        .where(known["expired"], known["partition"].not_in(left_out), known["policy"].is_not(None))
        .order_by(known["anchored_at"])
        .limit(MOST_ROWS)
    )
    at = whole.as_of.timestamp()
    with planner.engine.connect() as con:
        found = con.execute(rows).all()
    for row in found:
        policy = policies.policies[row.policy]
        measured = Measured(
            compute_seconds=row.compute_seconds,
            hits=int(row.hits or 0),
            age_seconds=max(0.0, row.age or 0.0),
            size_bytes=row.size,
        )
        candidates.append(
            Candidate(
                target=row.row_id,
                size_bytes=row.size,
                # Nobody is served an entry whose own end is over.
                value_per_byte=0.0 if policy.anchor == "expires_at" else value_per_byte(measured),
                reads=measured.hits,
                expires_in_seconds=row.anchored + policy.keep_seconds - at,
            )
        )
    return candidates


def relieved_bytes(plan: Plan) -> int:
    """What executing a plan gives back in the end, counted as what wanted it counts: a budget rows, a disk files."""
    return plan.haste.bytes_to_free if plan.haste else 0
