"""Pressure: how full the disks are and how large the datasets, and which of them must give something back.

What belongs here: measuring and saying so. What does not: what goes (`plan.py` makes the plan, `relief.py`
chooses), refusing writes (`disk.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, func, literal_column, or_, select, text

from retention_pipelines.disk import Disk, measure_disk
from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.postgres.tables import METADATA, PLANS
from retention_pipelines.retention.plans.select_lake import table_of
from retention_pipelines.retention.policies.governed import GOVERNED, Governed
from retention_pipelines.retention.pressure.budgets import limits_of
from retention_pipelines.retention.pressure.relief import Level, Watermarks
from retention_pipelines.retention.pressure.reserve import owed_bytes
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.table import RESTORE_WINDOW_HOURS

# What lies on the other root presses on no disk of ours, and may not be reached.
_NEAR = {name: one for name, one in GOVERNED.items() if not one.cold}


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskState:
    """A disk that datasets lie on.

    Attributes:
        awaited_bytes: of what went already and is in its grace: they come back without anything else going.
        bytes_to_free: what must go beside those for it to be below the low mark; 0 while it is below the high one.
        datasets: those that lie on it.
    """

    folder: str
    used_bytes: int
    total_bytes: int
    free_bytes: int
    used_share: float
    level: Level
    awaited_bytes: int
    bytes_to_free: int
    datasets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetState:
    """A dataset's size against its budget; `budget_bytes` None: it has none, `over_bytes` then 0.

    Attributes:
        size_bytes: of its files, of its training sets as they are stored, or of its rows in Postgres, which is what a
            budget counts; of a table without a budget those of the relation, where nobody asked for its rows.
    """

    dataset: str
    size_bytes: int
    budget_bytes: int | None
    over_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PressureState:
    """How short storage is.

    Attributes:
        level: of the fullest disk; budgets say nothing about it.
        used_share: of the fullest disk; None where no disk can be measured (a lake on S3, Postgres elsewhere).
        marks: shares at which pressure ends, begins, and writing stops.
        datasets: those that have to give something back, those over their budget first, then by size.
        bytes_to_free: by dataset of those, what must go at least.
        reason: a sentence for people.
    """

    level: Level
    used_share: float | None
    used_bytes: int | None
    total_bytes: int | None
    marks: Watermarks
    disks: tuple[DiskState, ...]
    sizes: tuple[DatasetState, ...]
    datasets: tuple[str, ...]
    bytes_to_free: Mapping[str, int]
    writes_stopped: bool
    reason: str

    @property
    def is_acting(self) -> bool:
        """Whether any dataset has to give something back."""
        return bool(self.datasets)

    @property
    def is_waiting(self) -> bool:
        """Whether a disk is short and bytes of it come back at the end of a grace, which may be over."""
        return any(disk.awaited_bytes and disk.level in (Level.HIGH, Level.FULL) for disk in self.disks)


def measure(settings: Settings) -> PressureState:
    """Measure disks and datasets; nothing is changed."""
    with open_server(settings) as server, Lake(settings, frees_space=True) as lake:
        engine = open_engine(server, tenant=EVERY_TENANT)
        try:
            return measure_with(engine, lake, settings)
        finally:
            engine.dispose()


def measure_with(engine: Engine, lake: Lake, settings: Settings, *, every_row: bool = False) -> PressureState:
    """The same over stores that are open.

    With `every_row` tables without a budget are measured as those with one are, which reads them whole.
    """
    budgets = limits_of(engine)
    sizes = {name: _size(engine, lake, one, by_row=every_row or name in budgets) for name, one in _NEAR.items()}
    marks = marks_of(settings)
    return judge(marks, _disks(settings, marks, _awaited(engine)), sizes, budgets)


def marks_of(settings: Settings) -> Watermarks:
    """The watermarks of these settings."""
    return Watermarks(low=settings.disk_low_share, high=settings.disk_high_share, stop=settings.disk_stop_share)


def judge(
    marks: Watermarks, disks: tuple[DiskState, ...], sizes: Mapping[str, int], budgets: Mapping[str, int]
) -> PressureState:
    """What follows from what was measured. Pure."""
    states = tuple(
        DatasetState(
            dataset=name,
            size_bytes=size,
            budget_bytes=budgets.get(name),
            over_bytes=Watermarks.over_budget(used_bytes=size, budget_bytes=budgets[name]) if name in budgets else 0,
        )
        for name, size in sizes.items()
    )
    wanted = {one.dataset: one.over_bytes for one in states if one.over_bytes}
    for disk in disks:
        if disk.bytes_to_free:
            for name in disk.datasets:
                # Which of the datasets gives how much is for the plans to say: none of them gives more than is asked.
                if sizes.get(name):
                    wanted[name] = max(wanted.get(name, 0), disk.bytes_to_free)
    over = {one.dataset: one.over_bytes for one in states}
    acting = sorted(wanted, key=lambda name: (not over[name], -sizes[name], name))
    fullest = max(disks, key=lambda disk: disk.used_share, default=None)
    level = max((disk.level for disk in disks), key=list(Level).index, default=Level.EASY)
    return PressureState(
        level=level,
        used_share=fullest.used_share if fullest else None,
        used_bytes=fullest.used_bytes if fullest else None,
        total_bytes=fullest.total_bytes if fullest else None,
        marks=marks,
        disks=disks,
        sizes=states,
        datasets=tuple(acting),
        bytes_to_free={name: wanted[name] for name in acting},
        writes_stopped=level is Level.FULL,
        reason=_reason(marks, fullest, level, states),
    )


def _reason(marks: Watermarks, fullest: DiskState | None, level: Level, sizes: tuple[DatasetState, ...]) -> str:
    said = []
    if fullest is None:
        said.append("No disk of this machine holds the data.")
    else:
        coming = (
            f" {fullest.awaited_bytes:,} bytes come back when their grace is over." if fullest.awaited_bytes else ""
        )
        place = f"{fullest.used_share:.1%} of the disk of {fullest.folder} are in use"
        said.append(
            {
                Level.EASY: f"{place}, below {marks.low:.0%}.",
                Level.LOW: f"{place}; pressure begins at {marks.high:.0%}.",
                Level.HIGH: f"{place}, {marks.high:.0%} or more: {fullest.bytes_to_free:,} bytes must go to be "
                f"below {marks.low:.0%}.",
                Level.FULL: f"{place}, {marks.stop:.0%} or more: writing has stopped, and {fullest.bytes_to_free:,} "
                f"bytes must go to be below {marks.low:.0%}.",
            }[level]
            + coming
        )
    said += [
        f"{one.dataset} has {one.size_bytes:,} bytes, {one.over_bytes:,} over its budget of {one.budget_bytes:,}."
        for one in sizes
        if one.over_bytes
    ]
    return " ".join(said)


def writing_stopped(settings: Settings, dataset: Governed) -> bool:
    """Whether the disk that a dataset lies on is so full that nobody writes."""
    folder = _folders(settings).get(dataset.name)
    if folder is None:
        return False
    return _without_reserve(measure_disk(folder), owed_bytes(settings)).used_share >= settings.disk_stop_share


def _without_reserve(disk: Disk, owed: Mapping[int, int]) -> Disk:
    """A disk on which the space that was kept aside, and was given up, is in use again."""
    lacking = min(owed.get(disk.device, 0), disk.free_bytes)
    return replace(disk, used_bytes=disk.used_bytes + lacking, free_bytes=disk.free_bytes - lacking)


def _folders(settings: Settings) -> Mapping[str, Path]:
    """By dataset, the folder of this machine that it lies in; not of those that lie elsewhere."""
    folders: dict[str, Path] = {}
    if settings.lake_is_local:
        folders |= {name: Path(settings.lake_root) for name, one in _NEAR.items() if one.store == "lake"}
    folders |= {name: settings.training_sets_dir for name, one in GOVERNED.items() if one.store == "files"}
    if settings.database_url is None:
        folders |= {name: settings.state_dir for name, one in GOVERNED.items() if one.store == "postgres"}
    return folders


def _disks(settings: Settings, marks: Watermarks, awaited: Mapping[str, int]) -> tuple[DiskState, ...]:
    """Every disk that datasets lie on, once."""
    states: dict[int, DiskState] = {}
    owed = owed_bytes(settings)
    for name, folder in _folders(settings).items():
        disk = _without_reserve(measure_disk(folder), owed)
        known = states.get(disk.device)
        coming = awaited.get(name, 0) + (known.awaited_bytes if known else 0)
        wanted = marks.bytes_to_free(used_bytes=disk.used_bytes, total_bytes=disk.total_bytes)
        states[disk.device] = DiskState(
            folder=known.folder if known else str(folder.absolute()),
            used_bytes=disk.used_bytes,
            total_bytes=disk.total_bytes,
            free_bytes=disk.free_bytes,
            used_share=disk.used_share,
            level=marks.level(used_bytes=disk.used_bytes, total_bytes=disk.total_bytes),
            awaited_bytes=coming,
            bytes_to_free=max(0, wanted - coming),
            datasets=(*(known.datasets if known else ()), name),
        )
    return tuple(states.values())


def _awaited(engine: Engine) -> Mapping[str, int]:
    """By dataset, the bytes of what runs removed that come back when its grace, or what readers need, is over."""
    size = func.coalesce(PLANS.c.freed_file_bytes, PLANS.c.freed_logical_bytes, 0)
    lake = [name for name, one in _NEAR.items() if one.store == "lake"]
    # Of the lake, files of a plan whose grace was shorter than a day wait for vacuum, unless space was short.
    for_vacuum = (
        PLANS.c.dataset.in_(lake)
        & PLANS.c.state.in_(("swept", "done"))
        & (PLANS.c.started_at > func.now() - timedelta(hours=RESTORE_WINDOW_HOURS))
        & (PLANS.c.counts["done", "grace_seconds"].as_integer() < 86_400)
        & PLANS.c.counts["haste", "grace_seconds"].as_string().is_(None)
    )
    query = select(PLANS.c.dataset, func.sum(size)).where(
        PLANS.c.dataset.in_(_NEAR), or_(PLANS.c.state == "published", for_vacuum)
    )
    query = query.group_by(PLANS.c.dataset)
    with engine.connect() as con:
        return {name: int(total) for name, total in con.execute(query)}


def row_bytes(dataset: Governed) -> ColumnElement[int]:
    """What a row counts against a budget: its own bytes, or those of its training set's files as they are stored."""
    table = METADATA.tables[dataset.table]
    if dataset.store == "files":
        return func.coalesce(table.c.stored_bytes, table.c.size_bytes)
    return func.pg_column_size(literal_column(f"{table.name}.*"))


def _size(engine: Engine, lake: Lake, dataset: Governed, *, by_row: bool) -> int:
    """Bytes of a dataset; by row where a budget counts them, as space that a DELETE frees stays inside a relation."""
    if dataset.store == "lake":
        return sum(file.bytes for file in table_of(lake, dataset).files())
    with engine.connect() as con:
        if by_row or dataset.store == "files":
            total = func.coalesce(func.sum(row_bytes(dataset)), 0)
            return int(con.scalar(select(total).select_from(METADATA.tables[dataset.table])) or 0)
        return int(con.scalar(text(_RELATION_BYTES), {"name": dataset.table}) or 0)


# Of a table and, where it has some, its partitions.
_RELATION_BYTES = """
select sum(pg_total_relation_size(relid)) from pg_partition_tree(cast(:name as regclass)) where isleaf
"""
