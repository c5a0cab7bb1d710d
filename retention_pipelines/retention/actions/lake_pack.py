"""Packing a lake table: rows come to rest in files that a measurement chose, with every value as it was.

Where a policy states a tolerance, numbers of its rows that have expired are rounded within it.

Layouts are tried on a sample of the rows that are due; the smallest that reads no slower is taken. A partition whose
files would hardly become smaller stays, and is remembered so that nobody tries again tomorrow. What does not belong
here: which partitions are due (`select_lake.py`), guards and states (`run.py`).
"""

import json
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake.transaction import AddAction
from duckdb import ColumnExpression, FunctionExpression

from retention_pipelines.errors import CommitConflict, PlanError
from retention_pipelines.retention.actions.act_lake import entry_of, transaction
from retention_pipelines.retention.actions.lake_gone import find_expired, groups_of, planned_files, sum_of
from retention_pipelines.retention.plans.lake_rows import counted_reads
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.select_lake import Rules, folder, table_of, tried_object
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.commit import TRIES, pause
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.files import scan_text, write_parquet
from retention_pipelines.warehouse.layout import Layout
from retention_pipelines.warehouse.listing import keep_age
from retention_pipelines.warehouse.rounding import Tolerance, largest_changes, rounded
from retention_pipelines.warehouse.table import Table

# Of a partition's bytes: what packing must save, or it is not worth a commit.
LEAST_SAVED = 0.05
_SAMPLE_ROWS = 100_000
# A higher level takes eight times the work of writing; reading costs the same.
_HARD, _HARD_MUST_SAVE = 19, 0.03
_SLOWER = 1.25
_SORTED_BY = 6
_PACKAGE = "retention_pipelines.retention.actions"
_PLANNED = pa.schema([("partition", pa.string()), ("rows", pa.int64())])
# What the log says of a packing that changed values.
ROUNDED = "rounded"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What packing did.

    Attributes:
        version: of the commit; None where nothing was worth one.
        rows: in files that were written anew.
        before, after: bytes of those files.
        unworthy: partitions that stay, because less than `LEAST_SAVED` would be saved.
        said: in a sentence, with what reading costs before and after where it was measured.
    """

    version: int | None
    rows: int
    before: int
    after: int
    unworthy: int
    said: str


@dataclass(frozen=True, kw_only=True)
class _Trial:
    layout: Layout
    bytes: int
    read_seconds: float


def pack_rows(lake: Lake, plan: Plan, dataset: Governed, rules: Rules, reads: pa.Table | None) -> Packed:
    """Write the files of the plan's partitions anew in one commit, once; rows that came since stay where they are.

    Where the plan's policy has a tolerance, the numbers it names are rounded of the rows that it governs and that have
    expired, decided again by the `rules` of now; in a partition in which more have than were planned, of none.
    """
    tolerance = next((one.tolerance for one in rules.policies.policies if one.policy_id == plan.only), ())
    planned_rows = {one.partition: one.expired for one in plan.partitions}
    table, op = table_of(lake, dataset), transaction(plan.sha256)
    due = {one.partition for one in plan.partitions if one.fate == "rewrite"}
    for attempt in range(TRIES):
        delta = table.delta()
        if table.has_done(op, delta):
            return _done(table, op)
        planned = {file.path for file in planned_files(table, plan)}
        by = table.dataset.partition_by
        files = [file for file in table.live(delta) if file.path in planned and folder(file, by) in due]
        if not files:
            return Packed(version=None, rows=0, before=0, after=0, unworthy=0, said="nothing was left to pack")
        chosen = _choose(lake, table, files, tolerance)
        moved = {name: 0.0 for name, _ in tolerance}
        adds: list[AddAction] = []
        replaced: list[LakeFile] = []
        unworthy: list[LakeFile] = []
        for group in groups_of(table, files):
            if tolerance:
                with counted_reads(lake.con, reads):
                    find_expired(lake.con, table, group, rules)
                _leave_unplanned(lake, planned_rows)
                placed = scan_text(table.dataset, table.root, group, named=True, numbered=True)
                rows = rounded(table.dataset, placed, tolerance, placed=True)
                for name, most in largest_changes(lake.con, table.dataset, placed, tolerance).items():
                    moved[name] = max(moved[name], most)
            else:
                rows = table.scan_files(group)
            new, old, stay = _pack(lake, table, group, rows, chosen.layout)
            adds, replaced, unworthy = adds + new, replaced + old, unworthy + stay
        _remember(lake, table, unworthy)
        stayed = len({folder(file, by) for file in unworthy})
        if not replaced:
            said = f"no partition would become {LEAST_SAVED:.0%} smaller"
            return Packed(version=None, rows=0, before=0, after=0, unworthy=stayed, said=said)
        before, after = _read_seconds(table, replaced), _read_seconds(table, [_as_file(add) for add in adds])
        said = f"{chosen.layout}; read in {before:.3f} s before, {after:.3f} s after"
        said += "".join(f"; {ROUNDED} {name} by at most {moved[name]:.3g} ({most:g})" for name, most in tolerance)
        said += f"; {stayed} partitions stay, as they would hardly become smaller" if stayed else ""
        try:
            table.commit(
                delta,
                adds,
                replaced,
                op=f"compress {plan.sha256[:12]}: {said}",
                transactions=[op],
                still=lambda newer: not table.has_done(op, newer),  # the same rows of the same files
            )
        except CommitConflict:
            if "://" not in table.root:  # in an object store a commit that failed may still land: vacuum takes them
                _discard(table, adds)
            pause(attempt, 0.05)
            continue
        return _done(table, op)
    raise CommitConflict(f"{table.name}: gave up after {TRIES} tries.", hint="Run it again with fewer writers.")


def take_packing_back(table: Table, plan_sha256: str) -> None:
    """Put the files back that packing replaced, where all of its own are still there.

    No value differs either way, unless some were rounded: then PlanError is raised where files were written anew since.
    """
    op = transaction(plan_sha256)
    if table.version() >= 0 and table.has_done(op):
        entry = entry_of(table, op)
        if {file.path for file in table.files()}.issuperset(entry.added):
            table.undo(entry.version)
        elif f"; {ROUNDED} " in (entry.op or ""):
            raise PlanError(
                f"Files of {table.name} that plan {plan_sha256[:12]} rounded were written anew since.",
                hint=f"Version {entry.version - 1} has the exact values: read it as it was then.",
            )


def _leave_unplanned(lake: Lake, planned: Mapping[str, int]) -> None:
    """Table `PLACES`: the rows that have expired now, but for partitions where those are more than were planned."""
    known = pa.table({"partition": list(planned), "rows": list(planned.values())}, schema=_PLANNED)
    lake.con.register("_pack_planned", known)
    try:
        lake.con.execute(statement(_PACKAGE, "lake_pack_places"))
    finally:
        lake.con.unregister("_pack_planned")


def _done(table: Table, op: str) -> Packed:
    """What the commit of that id did, by the log."""
    entry = entry_of(table, op)
    before = {file.path: file for file in table.files(version=entry.version - 1)}
    after = {file.path: file for file in table.files(version=entry.version)}
    return Packed(
        version=entry.version,
        rows=sum(after[path].rows for path in entry.added),
        before=sum(before[path].bytes for path in entry.removed),
        after=sum(after[path].bytes for path in entry.added),
        unworthy=0,
        said=(entry.op or "").partition(": ")[2],
    )


# -- choosing by measurement ------------------------------------------------------------------------------------------


def _choose(lake: Lake, table: Table, files: Sequence[LakeFile], tolerance: Tolerance) -> _Trial:
    """The smallest layout of a sample that reads about as fast as the table's own."""
    con = lake.con
    largest = max(files, key=lambda file: file.rows)
    sample = [file for file in files if file.partition == largest.partition]
    bind(con, "_pack_due", rounded(table.dataset, table.scan_files(sample), tolerance))
    con.execute("create or replace temp table _pack_sample as select * from _pack_due limit ?", [_SAMPLE_ROWS])
    lake.settings.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=lake.settings.state_dir, prefix="pack-") as scratch:
            own = _try(con, table, Path(scratch), Layout(order=table.dataset.order))
            orders = [Layout(order=order) for order in _orders(con, table) if order != table.dataset.order]
            fast = [own, *(_try(con, table, Path(scratch), layout) for layout in orders)]
            slowest = own.read_seconds * _SLOWER + 0.01
            best = min((one for one in fast if one.read_seconds <= slowest), key=lambda one: one.bytes, default=own)
            hard = _try(con, table, Path(scratch), Layout(order=best.layout.order, level=_HARD, group_rows=1_000_000))
            pays = hard.bytes <= (1 - _HARD_MUST_SAVE) * best.bytes and hard.read_seconds <= slowest
            return hard if pays else best
    finally:
        con.execute("drop table if exists _pack_sample")


def _try(con: duckdb.DuckDBPyConnection, table: Table, scratch: Path, layout: Layout) -> _Trial:
    # In a folder of its own, with whatever writing to the table itself would do.
    folder = scratch / uuid.uuid4().hex
    folder.mkdir()
    adds = write_parquet(con, table.dataset, str(folder), "from _pack_sample", layout=layout)
    rows = scan_text(table.dataset, str(folder), [_as_file(add) for add in adds])
    seconds = min(_timed(con, rows) for _ in range(3))
    return _Trial(layout=layout, bytes=sum(add.size for add in adds), read_seconds=seconds)


def _orders(con: duckdb.DuckDBPyConnection, table: Table) -> list[tuple[str, ...]]:
    """Orders worth trying: the catalog's, by time, and by the columns that repeat most."""
    plain = [
        column.name
        for column in table.dataset.columns
        if column.name not in table.dataset.partition_by and "[]" not in column.type.value
    ]
    counts = [FunctionExpression("approx_count_distinct", ColumnExpression(name)) for name in plain]
    found = con.table("_pack_sample").aggregate(counts).fetchall()[0]
    chosen: list[str] = []
    seen = 1
    for count, name in sorted(zip(found, plain, strict=True)):
        # One that varies as another does says the same again: licence, citation and dataset, for example.
        if count >= 2 * seen and len(chosen) < _SORTED_BY:
            chosen.append(name)
            seen = count
    repeating = (*chosen, *(name for name in table.dataset.order if name not in chosen))
    orders = [table.dataset.order, repeating]
    if table.dataset.event_time:
        orders.append((table.dataset.event_time, *(name for name in repeating if name != table.dataset.event_time)))
    return [order for order in orders if order]


def _read_seconds(table: Table, files: Sequence[LakeFile]) -> float:
    """CPU seconds of reading every value of the first files that hold the rows of a sample."""
    chosen: list[LakeFile] = []
    rows = 0
    for file in sorted(files, key=lambda one: sorted(one.partition.items())):
        if rows < _SAMPLE_ROWS:
            chosen.append(file)
            rows += file.rows
    return min(_timed(table.con, table.scan_files(chosen)) for _ in range(2)) * _SAMPLE_ROWS / max(rows, 1)


def _timed(con: duckdb.DuckDBPyConnection, rows: str) -> float:
    bind(con, "_pack_read", rows)
    started = time.process_time()
    con.execute("select bit_xor(hash(measured)) from _pack_read as measured").fetchall()
    return time.process_time() - started


# -- writing ----------------------------------------------------------------------------------------------------------


def _pack(
    lake: Lake, table: Table, files: Sequence[LakeFile], rows: str, layout: Layout
) -> tuple[list[AddAction], list[LakeFile], list[LakeFile]]:
    """New files of `rows`, the files they replace, and those that stay because little would be saved.

    Raises PlanError on any doubt: all of these files, of whole partitions, are written, then held against `rows`, row
    by row and value by value.
    """
    by = table.dataset.partition_by
    adds = table.write_files(f"from {rows}", layout=layout, frees=True)
    if sum_of(lake.con, rows) != sum_of(lake.con, table.scan_files(_as_file(add) for add in adds)):
        _discard(table, adds)
        raise PlanError("Packed rows are not what they were; nothing was changed.", hint="Please report this.")
    old: dict[str, list[LakeFile]] = {}
    new: dict[str, list[AddAction]] = {}
    for file in files:
        old.setdefault(folder(file, by), []).append(file)
    for add in adds:
        new.setdefault(folder(_as_file(add), by), []).append(add)
    kept: list[AddAction] = []
    replaced: list[LakeFile] = []
    unworthy: list[LakeFile] = []
    for place, there in old.items():
        if sum(add.size for add in new[place]) <= (1 - LEAST_SAVED) * sum(file.bytes for file in there):
            kept += new[place]
            replaced += there
        else:
            _discard(table, new[place])
            unworthy += there
    keep_age(kept, replaced)
    return kept, replaced, unworthy


def _as_file(add: AddAction) -> LakeFile:
    said = json.loads(add.stats)
    return LakeFile(
        path=add.path,
        bytes=add.size,
        rows=said["numRecords"],
        partition={key: str(value) for key, value in add.partition_values.items()},
        nulls=said["nullCount"],
    )


def _discard(table: Table, adds: Sequence[AddAction]) -> None:
    for add in adds:
        table.discard(add.path)


def _remember(lake: Lake, table: Table, unworthy: Sequence[LakeFile]) -> None:
    if not unworthy:
        return
    objects, name = tried_object(lake, table)
    live = {file.path for file in table.files()}
    known = set(json.loads(objects.read(name) or b"[]")) & live
    objects.write(name, json.dumps(sorted(known | {file.path for file in unworthy})).encode())
