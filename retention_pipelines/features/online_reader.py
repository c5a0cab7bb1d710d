"""Asks Postgres for hot rows, within a deadline, and checks what it says.

What belongs here: connections, the question, the seal. What does not: filling the copy (`hot_rows.py`), what to do
about rows that stay unsaid (`store.py`). The copy is complete as of its load, so a study that is not in it had no
features in the lake then; where nothing was loaded, or a row is damaged, nothing is said.
"""

import os
import threading
import time
from collections import Counter
from logging import getLogger

import psycopg
from psycopg import pq

from retention_pipelines.errors import DatabaseError, RetentionError
from retention_pipelines.features.hot_rows import entity_digest, seal_header
from retention_pipelines.features.online import Reading
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.postgres import address
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.bounded import BoundedConnection
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.postgres.watching import Watching
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.duck import statement

LOG = getLogger(__name__)
CONNECTIONS = 8
# After a failure nobody asks for so long: callers go to the lake at once, and a server that is back is soon noticed.
PAUSE_SECONDS = 0.5
# Studies in one question; each question has the deadline for itself.
STUDIES_AT_ONCE = 1_000
# Postgres counts microseconds from the year 2000.
_POSTGRES_EPOCH_US = 946_684_800_000_000


def open_reader(settings: Settings) -> "OnlineReader":
    """A reader with the secret of these settings; it connects when first asked."""
    return OnlineReader(settings, Seal(load_secret(settings)))


class OnlineReader:
    """Reads hot rows of the settings' tenant; safe for threads, opens at the first read, anew after a fork.

    `counts`: rows that were a hit, missing, corrupt or of another layout, and reads to which Postgres was unavailable.
    """

    def __init__(self, settings: Settings, seal: Seal) -> None:
        self._settings = settings
        self._tenant = settings.tenant
        self._seal = seal
        self._lock = threading.Lock()
        self._left_to_parent: list[list[BoundedConnection]] = []
        self.counts: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._server: Server | None = None
        self._opening: threading.Thread | None = None
        self._idle: list[BoundedConnection] = []
        self._lent: set[BoundedConnection] = set()
        self._watching = Watching()
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._paused_until = 0.0

    def open(self, *, seconds: float = 60.0) -> None:
        """Wait until the server is open and a connection stands: what the first read would not wait for."""
        ends = time.monotonic() + seconds
        self._idle.append(self._connection(ends))

    def read(self, reading: Reading, *, seconds: float) -> None:
        """Fill in what Postgres can say within so many seconds per question; the rest stays unsaid, with a reason."""
        if os.getpid() != self._pid:
            # Closing them here would end the parent's sessions.
            self._left_to_parent.append(self._idle)
            self._begin()
        if not reading.ids:
            return
        try:
            self._read(reading, seconds)
        except (psycopg.Error, RetentionError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            reading.reason = (str(error).strip() or type(error).__name__).split("\n")[0]
            LOG.warning("online features: %s", reading.reason)
        if reading.reason:
            self.counts["unavailable"] += 1

    def _read(self, reading: Reading, seconds: float) -> None:
        ends = time.monotonic() + seconds
        if time.monotonic() < self._paused_until:
            reading.reason = "Postgres did not answer a moment ago"
            return
        if not self._free.acquire(timeout=max(0.0, ends - time.monotonic())):
            reading.reason = f"all {CONNECTIONS} connections were in use"
            return
        try:
            con = self._connection(ends)
            con.ends, con.watching = ends, self._watching
            self._lent.add(con)
            con.looks = self._watching.begin(alone=len(self._lent) == 1)
            try:
                self._ask(con, reading, seconds)
            except BaseException:
                con.close()
                raise
            finally:
                self._lent.discard(con)
            self._idle.append(con)
        finally:
            self._free.release()

    # -- connections ----------------------------------------------------------------------------------------------

    def _connection(self, ends: float) -> BoundedConnection:
        while self._idle:
            con = self._idle.pop()
            if con.pgconn.status == pq.ConnStatus.OK:
                return con
            con.close()
        url = self._opened(ends).address(
            role="service", tenant=self._tenant, deadlines=Deadlines(connect=2, statement=30.0)
        )
        con = BoundedConnection.open(address.conninfo(url), seconds=max(0.0, ends - time.monotonic()))
        con.ends = ends
        con.execute(statement(PACKAGE, "online_prepare").encode())
        return con

    def _opened(self, ends: float) -> Server:
        """The server. An embedded one may have to start, which goes on behind a read that does not wait for it."""
        if self._server is not None:
            return self._server
        with self._lock:
            if self._opening is None or not self._opening.is_alive():
                self._opening = threading.Thread(target=self._open, name="online-features-open", daemon=True)
                self._opening.start()
            opening = self._opening
        opening.join(max(0.0, ends - time.monotonic()))
        opened: Server | None = self._server
        if opened is None:
            raise DatabaseError("The database is not open yet.")
        return opened

    def _open(self) -> None:
        try:
            self._server = open_server(self._settings)
        except (RetentionError, OSError) as error:
            LOG.warning("online features: %s", error)

    def close(self) -> None:
        """Close the connections and leave the server."""
        if os.getpid() != self._pid:
            return
        while self._idle:
            self._idle.pop().close()
        if self._server is not None:
            self._server.close()
            self._server = None

    # -- the question ---------------------------------------------------------------------------------------------

    def _ask(self, con: BoundedConnection, reading: Reading, seconds: float) -> None:
        places_of: dict[bytes, list[int]] = {}
        for place, one in enumerate(reading.ids):
            places_of.setdefault(entity_digest(one), []).append(place)
        broken: dict[str, set[int]] = {}
        if len(places_of) == 1:
            asked = [self._tenant.encode(), next(iter(places_of)).hex().encode()]
            if len(reading.unsaid) == 1:
                # Rows of other types are not read only to be left out.
                answer = con.answer(b"online_one", [*asked, next(iter(reading.unsaid)).encode()])
            else:
                answer = con.answer(b"online_every", asked)
            self._take(answer, reading, places_of, broken)
        else:
            con.looks = 0  # the answer takes longer than watching for it
            digests = list(places_of)
            kinds = "{" + ",".join(reading.unsaid) + "}"
            for start in range(0, len(digests), STUDIES_AT_ONCE):
                entities = "{" + ",".join(digest.hex() for digest in digests[start : start + STUDIES_AT_ONCE]) + "}"
                answer = con.answer(b"online_many", [self._tenant.encode(), entities.encode(), kinds.encode()])
                self._take(answer, reading, places_of, broken)
                con.ends = time.monotonic() + seconds
        if not reading.is_complete:
            self._vouch(con, reading, broken)

    def _take(
        self, answer: pq.abc.PGresult, reading: Reading, places_of: dict[bytes, list[int]], broken: dict[str, set[int]]
    ) -> None:
        """Fill in the rows of an answer; places of damaged ones are added to `broken`."""
        ids = reading.ids
        value, verify, types = answer.get_value, self._seal.verify, reading.plan.types
        headers = {kind: seal_header(self._tenant, kind) for kind in types}
        for n in range(answer.ntuples):
            kind = (value(n, 0) or b"").decode()
            if kind not in types:
                continue
            if reading.as_of_us is None:
                reading.as_of_us = _instant_us(value(n, 4))
            places = places_of[value(n, 1) or b""]
            payload, mac = value(n, 2) or b"", value(n, 3) or b""
            study = ids[places[0]]
            if not verify(headers[kind] + study.encode("utf-8", "surrogatepass"), payload, mac):
                self.counts["corrupt"] += 1
                LOG.error("online features: the %s row of %s is damaged, foreign or forged; not served", kind, study)
                broken.setdefault(kind, set()).update(places)
                continue
            found = types[kind].read(payload)
            if found is None:
                self.counts["other_layout"] += 1
                broken.setdefault(kind, set()).update(places)
                continue
            self.counts["hit"] += len(places)
            reading.fill(kind, places, found, "postgres")

    def _vouch(self, con: BoundedConnection, reading: Reading, broken: dict[str, set[int]]) -> None:
        """Rows that are not there are missing where the copy is complete; where it is not, they stay unsaid."""
        answer = con.answer(b"online_held", [self._tenant.encode()])
        held: dict[str, str] = {}
        for n in range(answer.ntuples):
            if reading.as_of_us is None:
                reading.as_of_us = _instant_us(answer.get_value(n, 2))
            held[(answer.get_value(n, 0) or b"").decode()] = (answer.get_value(n, 1) or b"").decode()
        for kind, places in reading.unsaid.items():
            if held.get(kind) == reading.plan.types[kind].layout.tag.hex():
                self.counts["missing"] += len(places - broken.get(kind, set()))
                places.intersection_update(broken.get(kind, set()))
            elif places:
                reading.reason = f"no {kind} features were loaded"
        if broken:
            reading.reason = "rows were damaged or of another layout"


def _instant_us(binary: bytes | None) -> int:
    """An instant as Postgres sends it, in microseconds since 1970."""
    return int.from_bytes(binary or b"", "big", signed=True) + _POSTGRES_EPOCH_US
