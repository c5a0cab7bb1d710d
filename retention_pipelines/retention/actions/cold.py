"""The archive of Postgres rows and training sets: Parquet and compressed files that are listed, compared, and readable.

Files are written from the graveyard, where nothing changes any more, and read back before they are listed; the
graveyard is not emptied before. Under `_archived` beside the lake, or under `_migrated` on the other root, lie
`<dataset>/<plan>/….parquet`. What does not belong here: lake rows (`act_lake.py`), when rows go (`run_postgres.py`).
"""

import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql
from sqlalchemy import Date, Engine, delete, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.tables import BURIED_PARTITIONS, COLD_FILES, GRAVES, METADATA
from retention_pipelines.retention.actions.rollup import RAW, note_back
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.objects import Objects, open_objects

if TYPE_CHECKING:
    from retention_pipelines.retention.actions.act_postgres import Step

# A file has as many rows as fit into either; it is in memory while it is written and compared.
_FILE_ROWS = 50_000
_FILE_BYTES = 64 * 2**20
_FETCHED = 500
_BURIED = "select {columns} from {grave} as gone where plan_sha256 = %s order by position"
_ARROW: dict[str, pa.DataType] = {
    "Text": pa.string(),
    "JSONB": pa.string(),
    "ARRAY": pa.list_(pa.string()),
    "BigInteger": pa.int64(),
    "Integer": pa.int32(),
    "Double": pa.float64(),
    "Boolean": pa.bool_(),
    "LargeBinary": pa.binary(),
    "Date": pa.date32(),
    "DateTime": pa.timestamp("us", tz="UTC"),
}
_SHAPES = {"Date": sql.SQL("nullif({}, 'infinity')"), "JSONB": sql.SQL("{}::text")}
_OUTDATED = """
delete from public.ml_inference_cache as gone
where (tenant, cache_key) in (select * from unnest(%s::text[], %s::text[])) and public.retention_is_outdated(gone)
returning tenant, cache_key
"""


@dataclass(frozen=True, kw_only=True)
class ColdFile:
    """A file of the archive; `row_id` names the training set it belongs to."""

    name: str
    row_id: str | None
    n_rows: int
    size_bytes: int
    raw_bytes: int
    content_sha256: bytes


@dataclass(frozen=True, kw_only=True)
class Cold:
    """The archive of one plan."""

    engine: Engine
    settings: Settings
    objects: Objects
    root: str
    dataset: Governed
    plan_sha256: str

    # -- writing --------------------------------------------------------------------------------------------------

    def copy_rows(self, step: "Step") -> int:
        """Copy what a plan left in the graveyard, rows and partitions; returns how many rows the archive has of it."""
        known, written = {one.name: one for one in self.files()}, []
        for place, rows in enumerate(self._tables()):
            content = _parquet(rows)
            digest = hashlib.sha256(content).digest()
            name = f"{self._folder()}/rows-{place:05d}-{digest.hex()[:12]}.parquet"
            written.append(name)
            if name not in known:
                self.put(name, [content], row_id=None, rows=rows.num_rows, raw_bytes=rows.nbytes)
                if not _read(self.objects.read(name) or b"").equals(rows):
                    raise PlanError(f"{name} does not hold the rows it was made of.", hint="Nothing more was removed.")
            step("archiving")
        for name, one in known.items():
            if one.row_id is None and name not in written:  # of an earlier try, which had fewer rows
                self._drop(name)
        return sum(one.n_rows for one in self.files() if one.row_id is None)

    def put(self, name: str, pieces: Iterable[bytes], *, row_id: str | None, rows: int, raw_bytes: int) -> None:
        """Write a file, read it back, and list it."""
        told, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                told.update(piece)
                size += len(piece)
                yield piece

        self.objects.write_pieces(name, counted())
        digest = told.digest()
        if _digest(self.objects, name) != digest:
            raise PlanError(f"{name} is not what was written to {self.root}.", hint="Look after that store first.")
        with self.engine.begin() as con:
            con.execute(
                insert(COLD_FILES)
                .values(
                    plan_sha256=self.plan_sha256,
                    name=name,
                    root=self.root,
                    dataset=self.dataset.name,
                    relation=self.dataset.table,
                    row_id=row_id,
                    tenant=None if row_id is None else json.loads(row_id)[0],
                    n_rows=rows,
                    size_bytes=size,
                    raw_bytes=raw_bytes,
                    content_sha256=digest,
                )
                .on_conflict_do_nothing()
            )

    def _tables(self) -> Iterator[pa.Table]:
        """The rows of the plan in the graveyard, as many at a time as a file has."""
        grave = sql.Identifier(GRAVES[self.dataset.table].name)
        columns = _columns(self.dataset)
        buried = select(BURIED_PARTITIONS.c.buried_as).where(BURIED_PARTITIONS.c.plan_sha256 == self.plan_sha256)
        with self.engine.connect() as con:
            raw = driver(con)
            sources: list[tuple[sql.Composed, Sequence[Any]]] = [
                (sql.SQL(_BURIED).format(columns=columns, grave=grave), (self.plan_sha256,))
            ]
            order = sql.SQL(", ").join(map(sql.Identifier, self.dataset.identity))
            for name in sorted(con.scalars(buried)):
                partition = sql.Identifier("retention_graveyard", name)
                whole = sql.SQL("select {} from {} as gone order by {}").format(columns, partition, order)
                sources.append((whole, ()))
            for query, values in sources:
                with raw.cursor(name="cold", binary=True) as cursor:
                    cursor.execute(query, values)
                    while found := _some(cursor):
                        yield _table(self.dataset, found)

    def _folder(self) -> str:
        return f"{self.dataset.name}/{self.plan_sha256[:16]}"

    # -- reading --------------------------------------------------------------------------------------------------

    def files(self) -> tuple[ColdFile, ...]:
        """The listed files of the plan."""
        with self.engine.connect() as con:
            rows = con.execute(
                select(COLD_FILES).where(COLD_FILES.c.plan_sha256 == self.plan_sha256).order_by(COLD_FILES.c.name)
            ).all()
        return tuple(ColdFile(**{name: getattr(row, name) for name in ColdFile.__dataclass_fields__}) for row in rows)

    def read(self, file: ColdFile) -> bytes:
        """The content of a file. Raises PlanError unless it is what was written."""
        content = self.objects.read(file.name)
        if content is None or hashlib.sha256(content).digest() != file.content_sha256:
            raise self._damaged(file)
        return content

    def pieces(self, file: ColdFile) -> Iterator[bytes]:
        """The content of a file, a piece at a time. Raises PlanError, at its end, unless it is what was written."""
        told = hashlib.sha256()
        try:
            for piece in self.objects.pieces(file.name):
                told.update(piece)
                yield piece
        except FileNotFoundError:
            raise self._damaged(file) from None
        if told.digest() != file.content_sha256:
            raise self._damaged(file)

    def _damaged(self, file: ColdFile) -> PlanError:
        return PlanError(f"{self.root}/{file.name} is gone or damaged.", hint="Restore it from a backup.")

    def require(self, rows: int) -> None:
        """Raise PlanError unless the archive holds so many rows of the plan, each file as it was written."""
        held = 0
        for file in self.files():
            if _digest(self.objects, file.name) != file.content_sha256:
                raise self._damaged(file)
            held += file.n_rows if file.row_id is None else 0
        if held != rows:
            raise PlanError(
                f"The archive has {held:,} rows of plan {self.plan_sha256[:12]}, which took out {rows:,}.",
                hint="The graveyard is kept until it has all.",
            )

    def bring_back(self, names: Collection[str] | None, step: Callable[[str], None]) -> tuple[str, ...]:
        """Insert archived rows again, with `names` only these; rows written anew stay. Returns what came back."""
        back: list[str] = []
        for file in self.files():
            if file.row_id is not None:
                continue
            chosen = [row for row in _read(self.read(file)).to_pylist() if names is None or self._named(row, names)]
            with self.engine.begin() as con:
                back += self._insert(driver(con), chosen)
            step("restoring")
        return tuple(back)

    def row_id(self, row: dict[str, Any]) -> str:
        """What plans call a row."""
        values = (row[name] for name in self.dataset.identity)
        return json.dumps(
            [value if isinstance(value, int) else "infinity" if value is None else str(value) for value in values],
            ensure_ascii=False,
        )

    def _named(self, row: dict[str, Any], names: Collection[str]) -> bool:
        return self.row_id(row) in names or any(str(row[name]) in names for name in self.dataset.names)

    def _insert(self, con: psycopg.Connection[Any], rows: list[dict[str, Any]]) -> list[str]:
        table = METADATA.tables[self.dataset.table]
        names = [one.name for one in table.columns]
        places = [
            sql.SQL("coalesce(%s::date, 'infinity')" if isinstance(one.type, Date) else "%s::jsonb")
            if isinstance(one.type, Date | JSONB)
            else sql.SQL("%s")
            for one in table.columns
        ]
        statement = sql.SQL("insert into {} ({}) values ({}) on conflict do nothing returning 1").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(places)
        )
        done = []
        with con.cursor() as cursor:
            cursor.executemany(statement, [[row[name] for name in names] for row in rows], returning=True)
            for row in rows:
                if cursor.fetchone() is not None:
                    done.append(row)
                cursor.nextset()
        if table.name == "ml_inference_cache" and done:
            # What was invalidated while it was archived must not be served again.
            keys = [row["tenant"] for row in done], [row["cache_key"] for row in done]
            outdated = set(con.execute(_OUTDATED, keys).fetchall())
            done = [row for row in done if (row["tenant"], row["cache_key"]) not in outdated]
        if table.name == RAW and done:
            source = sql.SQL("(select * from {} where seq = any({}))")
            note_back(con, source.format(sql.Identifier(RAW), sql.Literal([row["seq"] for row in done])))
        return [self.row_id(row) for row in done]

    def forget(self) -> None:
        """Remove the files of the plan: first from the store, then from the list."""
        for file in self.files():
            self._drop(file.name)

    def _drop(self, name: str) -> None:
        self.objects.delete(name)
        with self.engine.begin() as con:
            con.execute(
                delete(COLD_FILES).where(COLD_FILES.c.plan_sha256 == self.plan_sha256, COLD_FILES.c.name == name)
            )


def open_cold(engine: Engine, lake: Lake, settings: Settings, dataset: Governed, action: str, plan: str) -> Cold:
    """The archive of a plan. Raises LakeError when it migrates rows and there is no other root."""
    if action == "migrate":
        root, options = f"{lake.cold_root}/_migrated", settings.cold_storage_options
    else:
        root, options = f"{lake.root}/_archived", settings.storage_options
    return Cold(
        engine=engine,
        settings=settings,
        objects=open_objects(root, options),
        root=root,
        dataset=dataset,
        plan_sha256=plan,
    )


def _some(cursor: psycopg.ServerCursor[Any]) -> list[Sequence[Any]]:
    """The next rows, as many as a file has."""
    rows: list[Sequence[Any]] = []
    size = 0
    while len(rows) < _FILE_ROWS and size < _FILE_BYTES and (found := cursor.fetchmany(_FETCHED)):
        rows += found
        size += sum(len(value) for row in found for value in row if isinstance(value, bytes | str))
    return rows


def _columns(dataset: Governed) -> sql.Composable:
    """The columns of the dataset's rows as Python can hold them: no date is infinite."""
    return sql.SQL(", ").join(
        _SHAPES.get(type(one.type).__name__, sql.SQL("{}")).format(sql.Identifier("gone", one.name))
        for one in METADATA.tables[dataset.table].columns
    )


def _schema(dataset: Governed) -> pa.Schema:
    return pa.schema([(one.name, _ARROW[type(one.type).__name__]) for one in METADATA.tables[dataset.table].columns])


def _table(dataset: Governed, rows: Sequence[Sequence[Any]]) -> pa.Table:
    schema = _schema(dataset)
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, type=one.type) for column, one in zip(columns, schema, strict=True)], schema=schema
    )


def _digest(objects: Objects, name: str) -> bytes | None:
    """SHA-256 of an object; None where there is none."""
    told = hashlib.sha256()
    try:
        for piece in objects.pieces(name):
            told.update(piece)
    except FileNotFoundError:
        return None
    return told.digest()


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def _read(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))


__all__ = ["Cold", "ColdFile", "open_cold"]
