"""Hot rows: the latest features of every study, copied from the lake to Postgres for online reads.

What belongs here: what changed in the lake since the last load, and how it gets into Postgres fast and whole: one
transaction per load, with the version of the lake it brought the copy to. What does not: how a row is packed
(`layout.py`), how it is read (`online.py`), when a load runs (`defs/online.py`).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

import psycopg
import pyarrow as pa

from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.errors import LakeError
from retention_pipelines.features.layout import Layout, layout_of
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.seal import Seal, header
from retention_pipelines.postgres.server import Server
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement

# A load is not a call of a user's: it may take its time, but not for ever.
LOADING = Deadlines(statement=900.0, lock=300.0, idle_in_transaction=900.0)
ROWS_AT_ONCE = 20_000
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"


@dataclass(frozen=True, kw_only=True)
class TypeLoad:
    """What a load did for one feature type; `how`: nothing new, the studies that changed, or every study."""

    feature_type: str
    how: Literal["unchanged", "changed", "everything"]
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


def seal_header(tenant: str, feature_type: str) -> bytes:
    """Where a payload belongs, up to the study's name, which follows as it is."""
    return header("online_features", tenant, feature_type)


def load_hot_rows(lake: Lake, server: Server, *, tenant: str, seal: Seal, full: bool = False) -> HotRowsLoad:
    """Bring the tenant's copy to the newest state of the lake; readers see the old copy or the new one.

    Only studies with a row that came or went since the last load are looked at; all of them when nothing was loaded,
    the layout changed, another lake is there, the files of the loaded version are gone, or `full` asks for it.
    """
    with connect(server, role="service", tenant=tenant, deadlines=LOADING) as con, con.transaction():
        con.execute("select pg_advisory_xact_lock(hashtext('online_features'), hashtext(%s))", (tenant,))
        con.execute(statement(PACKAGE, "online_stage"))
        held = {} if full else read_held(con)
        loader = _Loader(lake=lake, con=con, tenant=tenant, seal=seal)
        types = tuple(loader.load(feature_type, held.get(feature_type)) for feature_type in FEATURE_TYPES)
    return HotRowsLoad(tenant=tenant, lake_version=loader.version, types=types)


def read_held(con: psycopg.Connection[Any]) -> dict[str, Held]:
    """State of the copy by feature type, of the session's tenant; empty before the first load."""
    rows = con.execute(
        "select feature_type, lake_table, lake_version, layout, rows_held, loaded_at from online_loads"
    ).fetchall()
    return {
        kind: Held(lake_table=table, lake_version=version, layout=layout, rows_held=rows_held, loaded_at=at)
        for kind, table, version, layout, rows_held, at in rows
    }


class _Loader:
    """One load: a pinned version of the lake, a transaction in Postgres."""

    def __init__(self, *, lake: Lake, con: psycopg.Connection[Any], tenant: str, seal: Seal) -> None:
        self._lake = lake
        self._con = con
        self._tenant = tenant
        self._seal = seal
        self._table = lake.table("feature_store")
        self.version = self._table.version()
        self._files = self._table.files(version=self.version)
        self._identity = str(self._table.delta().metadata().id) if self.version >= 0 else "none"

    def load(self, feature_type: str, held: Held | None) -> TypeLoad:
        layout = layout_of(feature_type)
        bind(
            self._lake.con,
            "_stored_type",
            self._table.scan_files(file for file in self._files if file.partition["feature_type"] == feature_type),
        )
        how = self._changes(layout, held)
        if how == "unchanged" and held is not None:
            self._remember(layout, held.rows_held)
            return TypeLoad(
                feature_type=feature_type, how=how, rows_read=0, rows_written=0, rows_removed=0,
                rows_held=held.rows_held,
            )  # fmt: skip
        set_variables(self._lake.con, only_wanted=how == "changed")
        self._con.execute("truncate _fresh, _gone")
        rows = self._stage(layout)
        if how == "changed":
            self._stage_wanted()
        arguments = {"tenant": self._tenant, "feature_type": feature_type, "everything": how == "everything"}
        removed = self._con.execute(statement(PACKAGE, "online_remove").encode(), arguments).rowcount
        written = self._con.execute(statement(PACKAGE, "online_merge").encode(), arguments).rowcount
        before = held.rows_held if held is not None and how == "changed" else None
        rows_held = rows if before is None else self._count(feature_type)
        self._remember(layout, rows_held)
        return TypeLoad(
            feature_type=feature_type, how=how, rows_read=rows, rows_written=written, rows_removed=removed,
            rows_held=rows_held,
        )  # fmt: skip

    def _changes(self, layout: Layout, held: Held | None) -> Literal["unchanged", "changed", "everything"]:
        """What to look at; for `changed`, DuckDB's table _wanted names the studies."""
        self._lake.con.execute("create or replace temp table _wanted (source_data_id varchar)")
        if (
            held is None
            or held.layout != layout.tag.hex()
            or held.lake_table != self._identity
            or held.lake_version > self.version
        ):
            return "everything"
        if held.lake_version == self.version:
            return "unchanged"
        kind = layout.feature_type
        try:
            earlier = self._table.files(version=held.lake_version)
            old = {file.path: file for file in earlier if file.partition["feature_type"] == kind}
            new = {file.path: file for file in self._files if file.partition["feature_type"] == kind}
            went = [file for path, file in old.items() if path not in new]
            self._table.require_present(went, held.lake_version)
        except LakeError:
            return "everything"  # the log or the files of that version are not kept any more
        came = [file for path, file in new.items() if path not in old]
        if not came and not went:
            return "unchanged"
        bind(self._lake.con, "_came", self._table.scan_files(came))
        bind(self._lake.con, "_went", self._table.scan_files(went))
        self._lake.con.execute(statement(PACKAGE, "online_touched"))
        return "changed"

    def _stage(self, layout: Layout) -> int:
        """Copy the rows to say into _fresh."""
        rows = 0
        columns = [column.name for column in layout.columns]
        relation = self._lake.con.sql(statement(PACKAGE, "online_latest")).select("source_data_id", *columns)
        with self._con.cursor().copy("copy _fresh from stdin (format binary)") as copy:
            copy.write(_COPY_HEAD)
            for batch in relation.to_arrow_reader(ROWS_AT_ONCE):
                for part in _copied(batch, layout, self._tenant, self._seal):
                    copy.write(part)
                rows += batch.num_rows
            copy.write(_COPY_END)
        return rows

    def _stage_wanted(self) -> None:
        wanted = self._lake.con.execute("select source_data_id from _wanted").fetchall()
        with self._con.cursor().copy("copy _gone from stdin (format binary)") as copy:
            copy.write(_COPY_HEAD)
            copy.write(b"".join(b"\0\x01\0\0\0\x10" + entity_digest(name) for (name,) in wanted))
            copy.write(_COPY_END)

    def _count(self, feature_type: str) -> int:
        row = self._con.execute(
            "select count(*) from online_features where tenant = %s and feature_type = %s", (self._tenant, feature_type)
        ).fetchone()
        return int(row[0]) if row else 0

    def _remember(self, layout: Layout, rows_held: int) -> None:
        values = (self._tenant, layout.feature_type, self._identity, max(self.version, 0), layout.tag.hex(), rows_held)
        self._con.execute(statement(PACKAGE, "online_remember").encode(), values)


def _copied(batch: pa.RecordBatch, layout: Layout, tenant: str, seal: Seal) -> Iterator[bytes]:
    """A batch in the binary format of COPY."""
    place = seal_header(tenant, layout.feature_type)
    sign = seal.sign
    head = b"\0\x03\0\0\0\x10"
    size = struct.Struct(">i").pack
    names: Sequence[str] = batch.column("source_data_id").to_pylist()
    parts: list[bytes] = []
    for name, payload in zip(names, layout.write(batch), strict=True):
        study = name.encode()
        parts += (
            head,
            blake2b(study, digest_size=16).digest(),
            size(len(payload)),
            payload,
            b"\0\0\0\x20",
            sign(place + study, payload),
        )
    yield b"".join(parts)
