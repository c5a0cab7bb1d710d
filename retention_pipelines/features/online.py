"""Online answers: the latest features of one or many studies, and how sure each row is.

What belongs here: what was asked and what came of it. What does not: asking Postgres (`online_reader.py`), filling it
(`hot_rows.py`), the lake, which answers where Postgres cannot (`store.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Literal

import pyarrow as pa

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.layout import Layout, layout_of
from retention_pipelines.features.names import ROW_COLUMNS, resolve

Origin = Literal["postgres", "lake", "missing"]
# Read of every row beside what was asked for: whether it was known yet, and how old it is.
TIMES = ("event_time", "known_at", "computed_at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OnlineUnavailable(FeatureError):
    """Postgres did not answer in time, or holds no complete copy, and the call may not read the lake."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TypePlan:
    """What to read of one feature type: `read` gives the times, then the values of `columns` of the answer."""

    layout: Layout
    read: Callable[[bytes], list[Any] | None]
    columns: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The features of a call, resolved."""

    asked: tuple[str, ...]
    names: tuple[str, ...]
    schema: pa.DataType
    types: Mapping[str, TypePlan]


@lru_cache(maxsize=256)
def plan(features: tuple[str, ...]) -> Plan:
    """Resolve the names of features; raises FeatureError with the nearest name for an unknown one."""
    names = resolve(features)
    types: dict[str, TypePlan] = {}
    fields = {"source_data_id": pa.string()}
    for kind in dict.fromkeys(name.feature_type for name in names):
        layout = layout_of(kind)
        columns = tuple(i for i, name in enumerate(names) if name.feature_type == kind)
        wanted = (*map(layout.index, TIMES), *(layout.index(names[i].column) for i in columns))
        types[kind] = TypePlan(layout=layout, read=layout.reader(wanted), columns=columns)
    for name in names:
        layout = types[name.feature_type].layout
        fields[name.output] = layout.arrow(layout.index(name.column))
    asked = tuple(f"{name.feature_type}.{name.column}" if name.column in ROW_COLUMNS else name.column for name in names)
    return Plan(
        asked=asked, names=tuple(name.output for name in names), schema=pa.struct(list(fields.items())), types=types
    )


@dataclass(frozen=True, kw_only=True)
class OnlineFeatures:
    """The latest features of studies, one row per id in the order asked for.

    A null of a study that has a row is a null of the feature store; where there is no row, `origins` says `missing`.

    Attributes:
        ids: the studies.
        names: columns of the answer, as `training_frame` names them.
        values: per study the values in that order; instants are microseconds since 1970.
        origins: by feature type, where each study's row came from.
        computed_us: by feature type, when each row was computed, in microseconds since 1970; None where missing.
        as_of_us: the instant of the answer, by the database's clock; by this machine's where the lake answered alone.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    values: Sequence[Sequence[Any]]
    origins: Mapping[str, Sequence[Origin]]
    computed_us: Mapping[str, Sequence[int | None]]
    as_of_us: int
    schema: pa.DataType

    @cached_property
    def table(self) -> pa.Table:
        """Arrow table: source_data_id and the features, with names and types as `training_frame` gives them."""
        rows = [(one, *row) for one, row in zip(self.ids, self.values, strict=True)]
        return pa.Table.from_struct_array(pa.array(rows, self.schema))

    @property
    def as_of(self) -> datetime:
        """The instant of the answer."""
        return _EPOCH + timedelta(microseconds=self.as_of_us)

    def ages(self, feature_type: str) -> tuple[timedelta | None, ...]:
        """How long ago each study's features of a type were computed; None where missing."""
        found = self.computed_us[feature_type]
        return tuple(None if at is None else timedelta(microseconds=self.as_of_us - at) for at in found)


class Reading:
    """An answer while it is put together.

    `unsaid` names the rows nobody has vouched for yet, by feature type; `ahead` those whose newest version cannot be
    known yet, so that an older one, which only the lake has, may stand.
    """

    def __init__(self, ids: Sequence[str] | str, features: Sequence[str] | str) -> None:
        self.plan = plan((features,) if isinstance(features, str) else tuple(features))
        self.ids = (ids,) if isinstance(ids, str) else tuple(ids)
        for one in self.ids:
            if not isinstance(one, str):
                raise FeatureError(f"{one!r} is no study.", hint="A study is named <dataset_id>/<event_id>.")
        n, width = len(self.ids), len(self.plan.names)
        self.values: list[list[Any]] = [[None] * width for _ in range(n)]
        self.origins: dict[str, list[Origin]] = {kind: ["missing"] * n for kind in self.plan.types}
        self.computed_us: dict[str, list[int | None]] = {kind: [None] * n for kind in self.plan.types}
        self.unsaid: dict[str, set[int]] = {kind: set(range(n)) for kind in self.plan.types}
        self.ahead: dict[str, set[int]] = {kind: set() for kind in self.plan.types}
        self.as_of_us: int | None = None
        self.reason = ""

    def wants_lake(self, *, allowed: bool) -> bool:
        """Whether the lake has something to say; where it is not allowed, rows that lie ahead are missing."""
        return not self.is_complete or (allowed and any(self.ahead.values()))

    @property
    def is_complete(self) -> bool:
        """Whether every row was vouched for."""
        return not any(self.unsaid.values())

    def fill(self, kind: str, places: Sequence[int], found: Sequence[Any], origin: Origin) -> None:
        """Put a row, times first, into its places; one that could not be known yet is missing."""
        self.unsaid[kind].difference_update(places)
        event_time, known_at, computed_at = found[:3]
        if self.as_of_us is None or event_time > self.as_of_us or known_at > self.as_of_us:
            self.ahead[kind].update(places)
            return
        columns = self.plan.types[kind].columns
        origins, computed = self.origins[kind], self.computed_us[kind]
        for place in places:
            origins[place] = origin
            computed[place] = computed_at
            if len(columns) == len(self.plan.names):
                self.values[place] = list(found[3:])
            else:
                row = self.values[place]
                for column, value in zip(columns, found[3:], strict=True):
                    row[column] = value

    def answer(self, *, now: datetime) -> OnlineFeatures:
        """The answer; what is still unsaid counts as missing. `now` is for those who asked about nobody."""
        return OnlineFeatures(
            ids=self.ids,
            names=self.plan.names,
            values=self.values,
            origins=self.origins,
            computed_us=self.computed_us,
            as_of_us=microseconds(now) if self.as_of_us is None else self.as_of_us,
            schema=self.plan.schema,
        )


def microseconds(at: datetime) -> int:
    """Since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def complete(reading: Reading, training_frame: Callable[..., pa.Table], *, lake: bool, now: datetime) -> None:
    """Let the lake say what Postgres could not: a point-in-time read of the unsaid rows as of the answer's instant."""
    if not lake:
        raise OnlineUnavailable(
            f"Online features cannot be read: {reading.reason or 'Postgres said nothing'}.",
            hint="`retention online load` fills the hot rows; with lake=True the lake is read instead.",
        )
    if reading.as_of_us is None:
        reading.as_of_us = microseconds(now)
    at = _EPOCH + timedelta(microseconds=reading.as_of_us)
    for kind, unsaid in reading.unsaid.items():
        places = sorted(unsaid | reading.ahead[kind])
        if not places:
            continue
        wanted = [reading.plan.asked[i] for i in reading.plan.types[kind].columns]
        times = [f"{kind}.{name}" for name in TIMES]
        asks = [{"source_data_id": reading.ids[place], "event_timestamp": at} for place in places]
        frame = training_frame(asks, list(dict.fromkeys([*times, *wanted])))
        columns = [_plain(frame[_output(kind, name)]) for name in (*times, *wanted)]
        for place, *found in zip(places, *columns, strict=True):
            if found[0] is None:
                reading.unsaid[kind].discard(place)
            else:
                reading.fill(kind, [place], found, "lake")


def _output(kind: str, name: str) -> str:
    """Column of a frame that holds the feature."""
    column = name.removeprefix(f"{kind}.")
    return f"{kind}_{column}" if column in ROW_COLUMNS else column


def _plain(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values
