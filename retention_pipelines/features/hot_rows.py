"""Hot rows: the latest features of every study, copied from the lake to Postgres for online reads.

What belongs here: what changed in the lake since the last load, and how it gets into Postgres fast and whole: one
transaction per load, with the version of the lake it brought the copy to. What does not: how a row is packed
(`layout.py`), how it is read (`online.py`), when a load runs (`defs/online.py`).
"""

import struct
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import groupby
from queue import Full, Queue
from typing import Any, Literal, TypeVar

import psycopg
import pyarrow as pa
from psycopg import generators, pq

from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.errors import LakeError
from retention_pipelines.features.layout import Layout, layout_of
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.engine import broken, connect
from retention_pipelines.postgres.seal import SEAL_BYTES, Seal, header
from retention_pipelines.postgres.server import Server
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement

# A load is not a call of a user's: it may take its time, but not for ever.
LOADING = Deadlines(statement=900.0, lock=300.0, idle_in_transaction=900.0)
ROWS_AT_ONCE = 5_000
# Batches worked out while Postgres takes earlier ones, and read while those are worked out: some 2.5 MB each.
AHEAD, READ_AHEAD = 24, 4
# What tells which version of a study stands.
_CHOSEN_BY = ("source_data_id", "feature_hash", "event_time", "computed_at", "version", "moved")
_TEXT, _BYTES, _UUID = 25, 17, 2950
_ARRAY_OF = {_BYTES: 1001, _UUID: 2951}
_ARRAY_HEAD = struct.Struct(">iiIii").pack
How = Literal["unchanged", "changed", "everything"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TypeLoad:
    """What a load did for one feature type; `how`: nothing new, the studies that changed, or every study."""

    feature_type: str
    how: How
    rows_read: int
    rows_written: int
    rows_removed: int
    rows_held: int


@dataclass(frozen=True, kw_only=True)
class HotRowsLoad:
    """What a load did; the copy now says what the lake said at `lake_version`."""

    tenant: str
    lake_version: int
    types: tuple[TypeLoad, ...]

    @property
    def rows_written(self) -> int:
        """Rows added or replaced."""
        return sum(one.rows_written for one in self.types)

    @property
    def rows_held(self) -> int:
        """Rows of the copy."""
        return sum(one.rows_held for one in self.types)


@dataclass(frozen=True, kw_only=True)
class Held:
    """State of the copy for one feature type."""

    lake_table: str
    lake_version: int
    layout: str
    rows_held: int
    loaded_at: datetime


def entity_digest(source_data_id: str) -> bytes:
    """Key of a study in Postgres: 16 bytes for a name of any length. The seal covers the name itself."""
    return blake2b(source_data_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=1024)
def seal_header(tenant: str, feature_type: str) -> bytes:
    """Where a payload belongs, up to the study's name, which follows as it is."""
    return header("online_features", tenant, feature_type)


def load_hot_rows(lake: Lake, server: Server, *, tenant: str, seal: Seal, full: bool = False) -> HotRowsLoad:
    """Bring the tenant's copy to the newest state of the lake; readers see the old copy or the new one.

    Only studies with a row that came or went since the last load are looked at; all of them when nothing was loaded,
    the layout changed, another lake is there, the files of the loaded version are gone, or `full` asks for it.
    """
    with connect(server, role="service", tenant=tenant, deadlines=LOADING) as con:
        try:
            with con.transaction():
                con.execute("select pg_advisory_xact_lock(hashtext('online_features'), hashtext(%s))", (tenant,))
                con.execute(statement(PACKAGE, "online_stage"))
                held = {} if full else read_held(con)
                source = _Source(lake)
                copy = _Copy(con, tenant=tenant, source=source)
                types = []
                packed = _packed(_ahead(source.steps(held), READ_AHEAD), tenant=tenant, seal=seal)
                with closing(_ahead(packed, AHEAD)) as steps:
                    for kind, of_type in groupby(steps, key=lambda step: step.layout.feature_type):
                        types.append(copy.take(of_type, held.get(kind)))
        except psycopg.OperationalError as error:
            if con.broken:
                raise broken(error) from error
            raise
    return HotRowsLoad(tenant=tenant, lake_version=source.version, types=tuple(types))


def read_held(con: psycopg.Connection[Any]) -> dict[str, Held]:
    """State of the copy by feature type, of the session's tenant; empty before the first load."""
    rows = con.execute(
        "select feature_type, lake_table, lake_version, layout, rows_held, loaded_at from online_loads"
    ).fetchall()
    return {
        kind: Held(lake_table=table, lake_version=version, layout=layout, rows_held=rows_held, loaded_at=at)
        for kind, table, version, layout, rows_held, at in rows
    }


@dataclass(frozen=True, kw_only=True)
class _Begin:
    """What is to be done for a feature type; `looked_at` are the digests of the studies that changed."""

    layout: Layout
    how: How
    looked_at: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Some rows of it, as the lake has them."""

    layout: Layout
    rows: pa.RecordBatch


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Some rows of it, as elements of arrays in the binary format."""

    layout: Layout
    rows: int
    entities: bytes
    payloads: bytes
    macs: bytes

    def arrays(self) -> "list[_Value]":
        """The values that a statement unnests."""
        return [
            _array(_UUID, self.rows, self.entities),
            _array(_BYTES, self.rows, self.payloads),
            _array(_BYTES, self.rows, self.macs),
        ]


class _Source:
    """A pinned version of the lake's table: what changed in it, and the rows to say so."""

    def __init__(self, lake: Lake) -> None:
        self._con = lake.con
        self._table = lake.table("feature_store")
        self.version = self._table.version()
        self._files = self._table.files(version=self.version)
        self.identity = str(self._table.delta().metadata().id) if self.version >= 0 else "none"

    def steps(self, held: Mapping[str, Held]) -> Generator[_Begin | _Batch, None, None]:
        """For every feature type its begin, then its rows."""
        for feature_type in FEATURE_TYPES:
            layout = layout_of(feature_type)
            files = [file for file in self._files if file.partition["feature_type"] == feature_type]
            how = self._changes(layout, files, held.get(feature_type))
            wanted = self._con.execute("select source_data_id from _wanted").fetchall()
            yield _Begin(layout=layout, how=how, looked_at=tuple(entity_digest(name) for (name,) in wanted))
            if not files or how == "unchanged" or (how == "changed" and not wanted):
                continue
            set_variables(self._con, only_wanted=how == "changed")
            columns = [column.name for column in layout.columns]
            # Binding costs by the column, so both name theirs.
            for view, some in (("_stored_type", [*columns, *_CHOSEN_BY]), ("_versions", _CHOSEN_BY)):
                bind(self._con, view, self._table.scan_files(files, columns={name: name for name in some}))
            # Further columns are left out by who packs: binding another `select` takes longer than to read them.
            for batch in self._con.sql(statement(PACKAGE, "online_latest")).to_arrow_reader(ROWS_AT_ONCE):
                yield _Batch(layout=layout, rows=batch)

    def _changes(self, layout: Layout, files: Sequence[LakeFile], held: Held | None) -> How:
        """What to look at; for `changed`, DuckDB's table _wanted names the studies."""
        self._con.execute("create or replace temp table _wanted (source_data_id varchar)")
        if (
            held is None
            or held.layout != layout.tag.hex()
            or held.lake_table != self.identity
            or held.lake_version > self.version
        ):
            return "everything"
        if held.lake_version == self.version:
            return "unchanged"
        try:
            earlier = self._table.files(version=held.lake_version)
            old = {file.path: file for file in earlier if file.partition["feature_type"] == layout.feature_type}
            new = {file.path: file for file in files}
            went = [file for path, file in old.items() if path not in new]
            self._table.require_present(went, held.lake_version)
        except LakeError:
            return "everything"  # the log or the files of that version are not kept any more
        came = [file for path, file in new.items() if path not in old]
        if not came and not went:
            return "unchanged"
        bind(self._con, "_came", self._table.scan_files(came))
        bind(self._con, "_went", self._table.scan_files(went))
        self._con.execute(statement(PACKAGE, "online_touched"))
        return "changed"


class _Copy:
    """The copy in Postgres, in one transaction."""

    def __init__(self, con: psycopg.Connection[Any], *, tenant: str, source: _Source) -> None:
        self._con = con
        self._tenant = tenant
        self._source = source

    def take(self, steps: Iterator[_Begin | _Rows], held: Held | None) -> TypeLoad:
        """Bring one feature type to what its steps say."""
        begin = next(steps)
        if not isinstance(begin, _Begin):
            raise TypeError("a feature type begins with what is to be done")
        kind, read, written, removed = begin.layout.feature_type, 0, 0, 0
        rows_held = held.rows_held if held is not None else 0
        if begin.how != "unchanged":
            asked = {"tenant": self._tenant, "feature_type": kind, "everything": begin.how == "everything"}
            is_first = held is None and not self._holds_any(kind)
            if not is_first:
                self._con.execute("truncate _fresh, _gone")
                gone = b"".join(b"\0\0\0\x10" + digest for digest in begin.looked_at)
                self._run("online_stage_gone", [_array(_UUID, len(begin.looked_at), gone)])
            for part in steps:
                if isinstance(part, _Rows):
                    read += part.rows
                    if is_first:
                        of_type = [(_TEXT, self._tenant.encode()), (_TEXT, kind.encode())]
                        written += self._run("online_insert", [*of_type, *part.arrays()])
                    else:
                        self._run("online_stage_rows", part.arrays())
            if not is_first:
                removed = self._con.execute(statement(PACKAGE, "online_remove").encode(), asked).rowcount
                written = self._con.execute(statement(PACKAGE, "online_merge").encode(), asked).rowcount
            rows_held = read if begin.how == "everything" else self._count(kind)
        values = (
            self._tenant, kind, self._source.identity, max(self._source.version, 0), begin.layout.tag.hex(), rows_held
        )  # fmt: skip
        self._con.execute(statement(PACKAGE, "online_remember").encode(), values)
        return TypeLoad(
            feature_type=kind, how=begin.how, rows_read=read, rows_written=written, rows_removed=removed,
            rows_held=rows_held,
        )  # fmt: skip

    def _run(self, name: str, values: "Sequence[_Value]") -> int:
        """Run a statement of a file; returns how many rows it was about.

        Sent in one call that leaves the interpreter to the threads that work ahead: a COPY asks for it back for every
        piece that the server takes, and waits up to five milliseconds for it each time. Who interrupts does not wait
        for the answer.
        """
        pgconn = self._con.pgconn
        pgconn.nonblocking = 0
        try:
            pgconn.send_query_params(
                statement(PACKAGE, name).encode(),
                [value for _, value in values],
                param_types=[kind for kind, _ in values],
                param_formats=[pq.Format.BINARY] * len(values),
            )
        finally:
            pgconn.nonblocking = 1
        # The first says why, where a server that goes away has more to say.
        result = self._con.wait(generators.execute(pgconn))[0]
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result, encoding="utf-8")
        return result.command_tuples or 0

    def _holds_any(self, feature_type: str) -> bool:
        row = self._con.execute(
            "select exists(select from online_features where tenant = %s and feature_type = %s)",
            (self._tenant, feature_type),
        ).fetchone()
        return bool(row and row[0])

    def _count(self, feature_type: str) -> int:
        row = self._con.execute(
            "select count(*) from online_features where tenant = %s and feature_type = %s", (self._tenant, feature_type)
        ).fetchone()
        return int(row[0]) if row else 0


def _packed(
    steps: Generator[_Begin | _Batch, None, None], *, tenant: str, seal: Seal
) -> Generator[_Begin | _Rows, None, None]:
    """The same steps with their rows packed."""
    with closing(steps):
        for step in steps:
            if isinstance(step, _Begin):
                yield step
            else:
                yield _sealed(step.rows, step.layout, tenant, seal)


def _ahead(steps: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The same steps, worked out in a thread while the caller is busy with earlier ones."""
    ready: Queue[T | BaseException | None] = Queue(depth)
    stop = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            with closing(steps):
                for step in steps:
                    put(step)
                    if stop.is_set():
                        return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            put(error)

    thread = threading.Thread(target=work, name="retention-hot-rows", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


# The type of a parameter, and its value in the binary format.
_Value = tuple[int, bytes]


def _array(of: int, elements: int, body: bytes) -> _Value:
    """An array without nulls; `body` is its elements, each behind its size."""
    return _ARRAY_OF[of], _ARRAY_HEAD(1, 0, of, elements, 1) + body


def _sealed(batch: pa.RecordBatch, layout: Layout, tenant: str, seal: Seal) -> _Rows:
    """A batch as Postgres takes it."""
    sign = seal.signer(seal_header(tenant, layout.feature_type))
    size = struct.Struct(">i").pack
    entity_size, mac_size = size(16), size(SEAL_BYTES)
    # Copied for each row: making one costs twice as much.
    nothing = blake2b(digest_size=16).copy
    names: Sequence[str] = batch.column("source_data_id").to_pylist()
    entities: list[bytes] = []
    payloads: list[bytes] = []
    macs: list[bytes] = []
    for name, payload in zip(names, layout.write(batch), strict=True):
        study = name.encode()
        entity = nothing()
        entity.update(study)
        entities += (entity_size, entity.digest())
        payloads += (size(len(payload)), payload)
        macs += (mac_size, sign(study, payload))
    return _Rows(
        layout=layout,
        rows=batch.num_rows,
        entities=b"".join(entities),
        payloads=b"".join(payloads),
        macs=b"".join(macs),
    )
