"""The Postgres tier: entries by key, with their remaining life by the database's clock.

What belongs here: reading, storing and removing entries. What does not: connections and what may go wrong with them
(`connections.py`), when to store (`writer.py`), what to do without the tier. Reading never writes; every entry is
checked against its seal, and one that fails is a miss and counted as corrupt.
"""

import logging
import math
import os
import platform
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, TypeVar

import orjson
import psycopg
from psycopg.pq.abc import PGresult

from retention_pipelines.cache import columns as fit
from retention_pipelines.cache import lookups, statements
from retention_pipelines.cache.breaker import Breaker
from retention_pipelines.cache.connections import READERS, REFUSALS, Connections, Place, Unavailable
from retention_pipelines.cache.days import days_ahead, make_ahead, prune_log, remove_expired
from retention_pipelines.cache.entry import LARGEST_PAYLOAD_BYTES, Kind, NewEntry, Payload, StoredEntry
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.misses import key_digest
from retention_pipelines.cache.secret import load_secret
from retention_pipelines.cache.statements import HOT_TABLES
from retention_pipelines.disk import require_space
from retention_pipelines.errors import CacheError, WritesStopped
from retention_pipelines.postgres.bounded import BoundedConnection, Step
from retention_pipelines.postgres.seal import Seal, header
from retention_pipelines.postgres.watching import Watching
from retention_pipelines.settings import Settings

__all__ = ["HotTier", "Unavailable"]
LOG = logging.getLogger(__name__)
T = TypeVar("T")

# Not on a caller's path, except where one asks to wait.
WRITE_SECONDS = 5.0
REMOVE_SECONDS = 30.0
BATCH = 1000
# Longer lives are for ever; dates in Postgres end.
_LONGEST_TTL = 100 * 366 * 86_400.0
Scope = Literal["key", "function", "model", "source", "tag", "all"]
_PUT: dict[Kind, bytes] = {"features": b"retention_put_features", "predictions": b"retention_put_predictions"}
_GET_OR_DIG_UP = b"retention_get_or_dig_up"
_LOCK = b"retention_lock_for_put"
# There are few encodings, and one is named in each seal.
_encoding = lru_cache(maxsize=64)(header)


class HotTier:
    """Entries of one tenant in Postgres; connects when first asked, safe for threads and forks.

    Every call ends within its deadline; when the database does not answer by then it raises `Unavailable`.
    """

    def __init__(self, settings: Settings, *, counters: Counters) -> None:
        self.tenant = settings.tenant
        self.read_only = settings.mode == "read_only"
        self.deadline_seconds = settings.cache_deadline_seconds
        self.settings = settings
        self.counters = counters
        self._tenant = settings.tenant.encode()
        self._seal: Seal | None = None
        self._known_secret: bytes | None = None
        # Whether a run took predictions out whose grace lasts: told by the look at the invalidation log.
        self.digs = False
        self._digging: weakref.WeakSet[BoundedConnection] = weakref.WeakSet()
        # How the places that seals name begin.
        self._places = {kind: header(settings.tenant, kind) for kind in HOT_TABLES}
        self._ahead: dict[Kind, int] = {
            "features": days_ahead(settings.feature_ttl_hours),
            "predictions": days_ahead(settings.prediction_ttl_hours),
        }
        self.place = Place(settings)
        self.breaker = Breaker()
        self._readers = Connections(
            self.place,
            most=READERS,
            statement_seconds=settings.cache_deadline_seconds,
            prepare=lookups.prepare,
            breaker=self.breaker,
            watching=Watching(),
        )
        self._writers = Connections(self.place, most=1, statement_seconds=REMOVE_SECONDS, prepare=_prepare_writer)

    def get(
        self,
        kind: Kind,
        key: str,
        *,
        stale_seconds: float = 0.0,
        within_days: int | None = None,
        columns: bool = False,
    ) -> StoredEntry | None:
        """The newest entry of a key that is fresh, or expired `stale_seconds` ago at most; None: not there.

        `within_days` is the number of days in which the entry expires, if that is known: a lookup that need not be made
        in the partitions of all days takes half the time. One that expires later is not found.
        """
        if columns:
            return self.get_many(kind, [key], stale_seconds=stale_seconds, columns=True).get(key)
        # Of entries that end by themselves no default policy takes those that have not ended; who has others computes.
        if self.digs and within_days is None and kind == "predictions":
            return self._get_or_dig_up(key, stale_seconds)
        name, values, _ = self.lookup(kind, key, stale_seconds, within_days)
        found = self._readers.call(lambda con: con.answer(name, values), seconds=self.deadline_seconds)
        fields = lookups.newest(found, stale_seconds)
        return None if fields is None else self._checked(kind, key, *fields)

    def _get_or_dig_up(self, key: str, stale_seconds: float) -> StoredEntry | None:
        digest = b"\\x" + self._digest(key).hex().encode()
        values = (self._tenant, key.encode(), b"%d" % lookups.days(stale_seconds), digest)

        def ask(con: BoundedConnection) -> PGresult:
            if con not in self._digging:
                # Not with the others: hardly any process needs it.
                con.execute(statements.prepare_get_or_dig_up(_GET_OR_DIG_UP.decode()))
                self._digging.add(con)
            return con.answer(_GET_OR_DIG_UP, values)

        found = self._readers.call(ask, seconds=self.deadline_seconds)
        fields = lookups.newest(found, stale_seconds)
        entry = None if fields is None else self._checked("predictions", key, *fields)
        # What was not taken out comes first.
        return replace(entry, is_buried=True) if entry and found.get_value(0, 7) == b"\x01" else entry

    def _digest(self, key: str) -> bytes:
        return key_digest(self._secret(), self.tenant, "inference_cache", key)

    def dig_up(self, key: str) -> bool:
        """Put a prediction back that a run took out, if its grace lasts; returns whether it did."""
        values = {"tenant": self.tenant, "key": key, "digest": self._digest(key)}

        def work(con: BoundedConnection) -> int:
            con.answers([(_LOCK, (f"{HOT_TABLES['predictions'].name} {self.tenant}".encode(),), ())])
            return con.execute(statements.dig_up(), values).rowcount

        return self.change(work) > 0

    def holds(self, kind: Kind, key: str, found: PGresult) -> bool:
        """Whether what `lookup` found is a fresh entry that can be read."""
        fields = lookups.newest(found, 0.0)
        if fields is None:
            return False
        payload, codec, mac, *_ = fields
        return self.seal.verify(self._place(kind, key, codec), payload, mac)

    def lookup(self, kind: Kind, key: str, stale_seconds: float = 0.0, within_days: int | None = None) -> Step:
        """The prepared statement that looks for an entry, for a connection of somebody else's (`lookups.prepare`)."""
        return lookups.one(self._tenant, kind, key, stale_seconds, within_days)

    def get_many(
        self, kind: Kind, keys: Sequence[str], *, stale_seconds: float = 0.0, columns: bool = False
    ) -> dict[str, StoredEntry]:
        """The entries there are of these keys, in one round trip."""
        if columns:
            return self._get_with_columns(kind, keys, stale_seconds)
        name, values, _ = lookups.many(self._tenant, kind, keys, stale_seconds)

        def ask(con: BoundedConnection) -> PGresult:
            con.looks = 0  # the answer takes longer than watching for it
            return con.answer(name, values)

        found = self._readers.call(ask, seconds=self.deadline_seconds)
        entries: dict[str, StoredEntry] = {}
        for key, rows in lookups.rows_by_key(found).items():
            fields = lookups.newest(found, stale_seconds, rows)
            entry = None if fields is None else self._checked(kind, key, *fields)
            if entry is not None:
                entries[key] = entry
        return entries

    def _get_with_columns(self, kind: Kind, keys: Sequence[str], stale_seconds: float) -> dict[str, StoredEntry]:
        asked = {"tenant": self.tenant, "keys": list(keys), "stale": stale_seconds}
        names = tuple(HOT_TABLES[kind].columns)
        entries: dict[str, StoredEntry] = {}
        for key, payload, codec, mac, age, remaining, compute, *more in self.ask(
            statements.get_with_columns(kind), asked
        ):
            described = dict(zip(names, more, strict=True))
            entry = self._checked(kind, key, payload, codec, mac, age, remaining, compute or 0.0, described)
            if entry is not None:
                entries[key] = entry
        return entries

    def _checked(
        self,
        kind: Kind,
        key: str,
        payload: bytes,
        codec: str,
        mac: bytes,
        age: float,
        remaining: float | None,
        compute: float,
        columns: Mapping[str, Any] | None = None,
    ) -> StoredEntry | None:
        seal = self._seal or self.seal
        if not seal.verify(self._place(kind, key, codec), payload, mac):
            self.counters.add(kind, "corrupt", "postgres")
            LOG.error("A cached entry of %s is damaged, foreign or forged and was not used: %s", kind, key)
            return None
        entry = StoredEntry(
            key=key,
            payload=Payload(codec=codec, data=payload),
            age_seconds=age,
            remaining_seconds=remaining,
            compute_seconds=compute,
        )
        if columns is not None:
            entry.columns = columns
        return entry

    def _place(self, kind: Kind, key: str, codec: str) -> bytes:
        """Where a seal says that a payload belongs."""
        return self._places[kind] + header(key) + _encoding(codec)

    def put_many(self, entries: Sequence[NewEntry], *, seconds: float = WRITE_SECONDS) -> int:
        """Store entries, those of a kind in one transaction per batch; returns how many are stored when it returns.

        Of two for one key the newer counts. An entry the database refuses for its columns is left out and counted, and
        so is one that is too large. Nothing is stored on a disk so full that writing stopped.
        """
        if self.read_only or not entries:
            return 0
        self._require_space()
        newest: dict[tuple[Kind, str], NewEntry] = {}
        for entry in entries:
            if len(entry.payload.data) > LARGEST_PAYLOAD_BYTES:
                self.counters.add(entry.kind, "dropped", "postgres")
                continue
            known = newest.get((entry.kind, entry.key))
            if known is None or known.computed_monotonic <= entry.computed_monotonic:
                newest[entry.kind, entry.key] = entry
        stored = 0
        ends = time.monotonic() + seconds
        for kind in HOT_TABLES:
            mine = [entry for entry in newest.values() if entry.kind == kind]
            for start in range(0, len(mine), BATCH):
                stored += self._put(kind, mine[start : start + BATCH], ends)
        return stored

    def _require_space(self) -> None:
        """Raise Unavailable where the disk of the embedded server is too full; that of another is not ours to see."""
        if self.settings.database_url is not None:
            return
        try:
            require_space(self.settings.state_dir, self.settings.disk_stop_share)
        except WritesStopped as error:
            raise Unavailable("disk full", error.message, hint=error.hint, lasting=True) from error
        except OSError as error:
            LOG.debug("The disk of %s cannot be measured: %s", self.settings.state_dir, error)

    def _put(self, kind: Kind, batch: list[NewEntry], ends: float) -> int:
        try:
            stored = self._writers.call(lambda con: self._upsert(con, kind, batch), seconds=ends - time.monotonic())
        except REFUSALS as error:
            if len(batch) == 1:
                self.counters.add(kind, "dropped", "postgres")
                LOG.warning("An entry of %s cannot be stored: %s", batch[0].function, type(error).__name__)
                return 0
            half = len(batch) // 2
            return self._put(kind, batch[:half], ends) + self._put(kind, batch[half:], ends)
        self.counters.add(kind, "stored", "postgres", stored)
        if stored < len(batch):
            # Expired on the way, older than what is there, or invalidated while it was computed.
            self.counters.add(kind, "dropped", "postgres", len(batch) - stored)
        return stored

    def _upsert(self, con: BoundedConnection, kind: Kind, batch: list[NewEntry]) -> int:
        name = HOT_TABLES[kind].name
        now = time.monotonic()
        rows: list[dict[str, object]] = []
        payloads: list[bytes] = []
        at = 1
        for entry in batch:
            payload = bytes(entry.payload.data)
            rows.append(self._row(entry, payload, at, now))
            payloads.append(payload)
            at += len(payload)
        keys = fit.array([entry.key for entry in batch]).encode()
        writer = f"{platform.node()}:{os.getpid()}".encode()
        fields = (self._tenant, writer, orjson.dumps(rows), b"".join(payloads), keys)
        locked = (_LOCK, (f"{name} {self.tenant}".encode(),), ())
        results = con.answers([locked, (_PUT[kind], fields, (3,))])
        return results[1].command_tuples or 0

    def _row(self, entry: NewEntry, payload: bytes, at: int, now: float) -> dict[str, object]:
        ttl, compute = entry.ttl_seconds, entry.compute_seconds
        row: dict[str, object] = {
            "cache_key": entry.key,
            "age_seconds": max(0.0, now - entry.computed_monotonic),
            "ttl_seconds": None if ttl is None or not ttl < _LONGEST_TTL else ttl,
            "as_of_seq": entry.as_of_seq,
            "tags": [fit.text(tag) for tag in entry.tags],
            "function": fit.text(entry.function) or None,
            "payload_codec": entry.payload.codec,
            "payload_at": at,
            "payload_bytes": len(payload),
            "payload_seal": self.seal.sign(self._place(entry.kind, entry.key, entry.payload.codec), payload).hex(),
            "compute_seconds": compute if compute >= 0 and math.isfinite(compute) else None,
        }
        table, columns = HOT_TABLES[entry.kind], entry.columns
        for name, type_of in table.columns.items():
            value = columns.get(name)
            if value is not None or type_of == "jsonb":
                value = fit.FITTED[type_of](value)
            row[name] = "unknown" if not value and name in table.required else value
        return row

    def remove(self, scope: Scope, target: str | None = None) -> int:
        """Remove what an invalidation names, from this tier alone; returns how many. Others hear by the log."""
        return self.change(lambda con: self.remove_in(con, scope, target), seconds=REMOVE_SECONDS)

    def remove_in(
        self, con: BoundedConnection, scope: Scope, target: str | None = None, *, every_tenant: bool = False
    ) -> int:
        """The same within a transaction of the caller's on the connection for writing."""
        values = {"scope": scope, "target": fit.text(target), "tenant": None if every_tenant else self.tenant}
        if every_tenant:
            con.execute("set local retention.tenant = '*'")
        removed = 0
        for kind in HOT_TABLES:
            removed += con.execute(statements.remove(kind, by_key=scope == "key"), values).rowcount
        return removed + con.execute(statements.plain("outdate_training"), values).rowcount

    def purge_expired(self, *, keep_stale_seconds: float = 0.0) -> int:
        """Remove what expired so long ago: whole days by dropping their partitions, other rows one by one.

        Returns the number of the latter.
        """
        return self.change(lambda con: remove_expired(con, keep_stale_seconds), seconds=REMOVE_SECONDS)

    def make_days(self) -> int:
        """Make the partitions of the coming days where they are missing, and shorten the log; returns how many."""
        self.change(prune_log, seconds=WRITE_SECONDS)
        return self.change(lambda con: make_ahead(con, self._ahead), seconds=WRITE_SECONDS)

    @property
    def seal(self) -> Seal:
        """What signs and verifies payloads; read or made when first needed."""
        if self._seal is None:
            self._seal = Seal(self._secret())
        return self._seal

    def _secret(self) -> bytes:
        if self._known_secret is None:
            try:
                self._known_secret = load_secret(self.settings)
            except CacheError as error:
                raise Unavailable("no secret", error.message, hint=error.hint) from error
        return self._known_secret

    def ask(
        self, statement: Any, values: Mapping[str, object] | Sequence[object] = (), *, seconds: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of a statement that only reads, prepared, within the deadline."""

        def work(con: BoundedConnection) -> list[tuple[Any, ...]]:
            return con.execute(statement, values, prepare=True, binary=True).fetchall()

        return self._readers.call(work, seconds=self.deadline_seconds if seconds is None else seconds)

    def change(self, work: Callable[[BoundedConnection], T], *, seconds: float = WRITE_SECONDS) -> T:
        """What `work` returns; it runs in a transaction on the connection for writing, again if that had been lost."""
        if self.read_only:
            raise Unavailable("read-only")

        def in_transaction(con: BoundedConnection) -> T:
            try:
                with con.transaction():
                    return work(con)
            except psycopg.errors.CheckViolation as error:
                if error.diag.constraint_name is not None:
                    raise
            # Postgres chose the default partition just before that of the row's day was attached; now it is there.
            with con.transaction():
                return work(con)

        return self._writers.call(in_transaction, seconds=seconds)

    def close(self) -> None:
        """Close the connections and leave an embedded server."""
        self._readers.close()
        self._writers.close()
        self.place.close()


def _prepare_writer(con: BoundedConnection) -> None:
    # The plan is made once, often while the tables are all but empty: whatever reads them whole, or once per row, looks
    # cheap then.
    con.execute("set enable_seqscan = off")
    con.execute("set enable_nestloop = off")
    con.execute(statements.prepare_lock(_LOCK.decode()))
    for kind, name in _PUT.items():
        con.execute(statements.prepare_put(name.decode(), kind))
