"""Point-in-time reads of the feature store.

What belongs here: which stored row answers a question about an instant, without leaking anything later. What does
not: how values are computed (`compute.py`). Each call reads one snapshot of the table.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.errors import FeatureError
from retention_pipelines.features.asof import SECOND
from retention_pipelines.features.entities import entity_table
from retention_pipelines.features.missing import tell_missing
from retention_pipelines.features.names import FeatureName, resolve
from retention_pipelines.features.online import OnlineFeatures, Reading, complete
from retention_pipelines.features.online_reader import OnlineReader, open_reader
from retention_pipelines.features.point_in_time import Asked, Picker, Read
from retention_pipelines.features.reads import read_counter
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One stored version of one feature type of a study; `values` are the type's columns."""

    feature_hash: str
    feature_type: str
    event_time: datetime
    known_at: datetime
    computed_at: datetime
    version: int
    location_grid: str
    quality_score: float
    priority: str
    code_version: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyFeatures:
    """The features of one study; None for a type that is not stored for it."""

    source_data_id: str
    temporal: FeatureRow | None
    spatial: FeatureRow | None
    environmental: FeatureRow | None
    species: FeatureRow | None


class FeatureStore:
    """Reads features for training and for single studies. Not for several threads at once: open a lake per thread."""

    def __init__(self, lake: Lake, *, reader: Literal["user", "system"] = "user") -> None:
        """Read from this lake; what a `system` reads, such as a report, does not count as use of a feature."""
        self._lake = lake
        self._reads = read_counter(lake.settings) if reader == "user" else None
        self._table = lake.table("feature_store")
        self._online: OnlineReader | None = None

    def training_frame(
        self,
        entities: Any,
        features: Sequence[str],
        *,
        as_of: datetime | None = None,
        ttl: timedelta | None = None,
        on: str = "source_data_id",
    ) -> pa.Table:
        """The entities with the values of features as they were known at each row's `event_timestamp`.

        A stored row answers an entity row when it has the same key, `event_time` and `known_at` are at or before
        `event_timestamp`, and it is at most `ttl` old (exactly `ttl` still counts). Of those the one with the latest
        `event_time` is taken, then the latest `computed_at`, the greatest source_data_id, the highest version. With
        `as_of`, the store is read as it was then: rows computed, known or happened later do not exist. Without a
        row the features are null. Rows, their order and the entities' columns are kept.

        Args:
            entities: Arrow, Polars or pandas table, DuckDB relation or list of dicts with `on` and `event_timestamp`.
            features: names such as `environmental.temperature_degc`, or plain column names.
            as_of: an aware instant; None reads the newest state.
            ttl: longest age of a value at `event_timestamp`.
            on: join on the study (`source_data_id`) or on its cell (`location_grid`); only the former is counted as
                use of the features that answer.
        """
        return self._frame(entities, features, as_of=as_of, ttl=ttl, on=on, counted=self._reads is not None)

    def _frame(
        self,
        entities: Any,
        features: Sequence[str],
        *,
        as_of: datetime | None = None,
        ttl: timedelta | None = None,
        on: str = "source_data_id",
        counted: bool = False,
    ) -> pa.Table:
        names = resolve(features)
        table, asks = entity_table(entities, on)
        clash = sorted({name.output for name in names} & set(table.column_names))
        if clash:
            raise FeatureError(
                f"The entities already have a column {clash[0]!r}.", hint="Rename it, or leave that feature out."
            )
        _require_aware(as_of)
        if ttl is not None and not isinstance(ttl, timedelta):
            raise FeatureError(f"ttl is {ttl!r}.", hint="Pass a timedelta, such as timedelta(days=7).")
        if ttl is not None and ttl < timedelta(0):
            raise FeatureError(f"ttl is negative: {ttl}.", hint="Pass the longest age a value may have.")
        asked_at = asks["instant"]
        if as_of is not None and asks.num_rows:
            limit = pa.scalar(as_of, asked_at.type)
            asks = asks.set_column(2, "instant", pc.if_else(pc.less(asked_at, limit), asked_at, limit))
        con = self._lake.con
        set_variables(con, as_of=as_of)
        files = self._table.files()
        con.register("_entities", asks)
        try:
            con.execute("create or replace temp table _ask as from _entities where key is not null")
        finally:
            con.unregister("_entities")
        con.execute(statement(PACKAGE, "asked_keys"))
        numbered = con.sql("select ask, code, instant from _ask join _key using (key) order by code, instant")
        table_of_asks = numbered.to_arrow_table()
        instants = table_of_asks["instant"].cast(pa.int64()).to_numpy()
        asked = Asked(
            row=table_of_asks["ask"].to_numpy(),
            key=table_of_asks["code"].to_numpy(),
            instant=instants,
            keys=con.sql("select key from _key order by code").to_arrow_table()["key"],
            latest=_instant(int(instants.max()) // SECOND + 1) if len(instants) else None,
            earliest=_earliest(asked_at, ttl) if ttl is not None and asks.num_rows else None,
        )
        by_type: dict[str, list[FeatureName]] = {}
        for name in names:
            by_type.setdefault(name.feature_type, []).append(name)
        reads = [
            Read(
                files=[file for file in files if file.partition["feature_type"] == kind],
                names=wanted,
                on=on,
            )
            for kind, wanted in by_type.items()
        ]
        answers: dict[str, pa.ChunkedArray] = {}
        for read, found in zip(reads, Picker(self._table).pick(reads, asked), strict=True):
            answers |= _align(found, read.names, asked_at, ttl)
            if counted and on == "source_data_id" and self._reads is not None:
                self._reads.count(read.names[0].feature_type, _answering(asked, found))
        for name in names:
            table = table.append_column(name.output, answers[name.output])
        return table

    def online(
        self,
        ids: Sequence[str] | str,
        features: Sequence[str],
        *,
        lake: bool = True,
        deadline_seconds: float | None = None,
    ) -> OnlineFeatures:
        """The latest features of studies, from the hot rows in Postgres: one row per id, in order.

        The values are those `training_frame` gives for the present instant, as of the last load of the hot rows. Where
        Postgres does not answer within the deadline, nothing was loaded or a row is damaged, the lake is read, which
        takes longer; the answer says of every row where it came from, and how old it is.

        Args:
            ids: studies; one that has no features gives nulls and the origin `missing`.
            features: names as `training_frame` takes them.
            lake: False never reads the lake, and raises OnlineUnavailable where that would have been needed.
            deadline_seconds: longest wait for Postgres per 1,000 studies; by default the setting
                cache_deadline_seconds.
        """
        if self._online is None:
            self._online = open_reader(self._lake.settings)
            weakref.finalize(self, self._online.close)
        seconds = self._lake.settings.cache_deadline_seconds if deadline_seconds is None else deadline_seconds
        reading = Reading(ids, features)
        self._online.read(reading, seconds=seconds)
        if reading.wants_lake(allowed=lake):
            complete(reading, self._frame, lake=lake, now=datetime.now(UTC))
        for kind, origins in reading.origins.items():
            if self._reads is not None:
                self._reads.count(
                    kind, [one for one, origin in zip(reading.ids, origins, strict=True) if origin != "missing"]
                )
            if "missing" in origins:
                tell_missing(
                    f"{one}/{kind}" for one, origin in zip(reading.ids, origins, strict=True) if origin == "missing"
                )
        return reading.answer(now=datetime.now(UTC))

    def get(self, source_data_id: str, *, as_of: datetime | None = None) -> StudyFeatures:
        """The latest version of every feature type of a study; with `as_of`, as it was known then.

        Raises FeatureError when nothing is stored for the study.
        """
        _require_aware(as_of)
        if not isinstance(source_data_id, str):
            raise FeatureError(f"{source_data_id!r} is no study.", hint="A study is named <dataset_id>/<event_id>.")
        con = self._lake.con
        set_variables(con, source_data_id=source_data_id, as_of=as_of)
        bind(con, "_stored", self._table.scan(keep=lambda file: _may_hold(file, source_data_id)))
        rows = con.sql(statement(PACKAGE, "study_rows")).to_arrow_table().to_pylist()
        if as_of is None:
            stored = {row["feature_type"] for row in rows}
            tell_missing(f"{source_data_id}/{kind}" for kind in FEATURE_COLUMNS if kind not in stored)
        if not rows:
            raise FeatureError(
                f"No features are stored for the study {source_data_id!r}"
                + (f" as of {as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}." if as_of else "."),
                hint="A study is named <dataset_id>/<event_id>; features are computed by `retention materialize`.",
            )
        if self._reads is not None:
            for row in rows:
                self._reads.count(row["feature_type"], [source_data_id])
        found = {row["feature_type"]: _feature_row(row) for row in rows}
        return StudyFeatures(
            source_data_id=source_data_id,
            temporal=found.get("temporal"),
            spatial=found.get("spatial"),
            environmental=found.get("environmental"),
            species=found.get("species"),
        )


def _require_aware(as_of: Any) -> None:
    if as_of is not None and (not isinstance(as_of, datetime) or as_of.tzinfo is None):
        raise FeatureError(
            f"as_of has no time zone: {as_of!r}.", hint="Pass an aware instant, such as datetime(…, tzinfo=UTC)."
        )


def _instant(seconds: int) -> datetime | None:
    """Seconds since 1970 as an instant; None, no bound, outside the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _earliest(asked_at: pa.ChunkedArray, ttl: timedelta) -> datetime | None:
    first: int = pc.min(asked_at.cast(pa.int64())).as_py()
    return _instant((first - ttl // timedelta(microseconds=1)) // SECOND)


def _align(
    found: pa.Table, names: Iterable[FeatureName], asked_at: pa.ChunkedArray, ttl: timedelta | None
) -> dict[str, pa.ChunkedArray]:
    """Values in the order of the asks, null where no row was picked or the picked one is older than `ttl`."""
    row_of = np.full(len(asked_at), -1, dtype=np.int64)
    ask = found["ask"].to_numpy()
    if ttl is not None:
        age = asked_at.cast(pa.int64()).to_numpy()[ask] - found["event_time"].cast(pa.int64()).to_numpy()
        fresh = age <= ttl // timedelta(microseconds=1)
        row_of[ask[fresh]] = np.flatnonzero(fresh)
    else:
        row_of[ask] = np.arange(len(ask))
    index = pa.array(row_of, mask=row_of < 0)
    return {name.output: found[f"value {i}"].take(index) for i, name in enumerate(names)}


def _answering(asked: Asked, found: pa.Table) -> pa.ChunkedArray:
    """The keys whose rows were picked, each once."""
    code = np.full(int(asked.row.max(initial=-1)) + 1, -1, dtype=np.int64)
    code[asked.row] = asked.key
    return asked.keys.take(pa.array(np.unique(code[found["ask"].to_numpy()])))


def _may_hold(file: LakeFile, source_data_id: str) -> bool:
    low, high = file.minimum.get("source_data_id"), file.maximum.get("source_data_id")
    return low is None or high is None or low <= source_data_id <= high


def _feature_row(row: dict[str, Any]) -> FeatureRow:
    return FeatureRow(
        feature_hash=row["feature_hash"],
        feature_type=row["feature_type"],
        event_time=row["event_time"],
        known_at=row["known_at"],
        computed_at=row["computed_at"],
        version=row["version"],
        location_grid=row["location_grid"],
        quality_score=row["quality_score"],
        priority=row["priority"],
        code_version=row["code_version"],
        values={column.name: row[column.name] for column in FEATURE_COLUMNS[row["feature_type"]]},
    )
