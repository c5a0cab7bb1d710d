"""The lake as the last tier of cached features: entries that were folded out of Postgres and are still fresh.

What belongs here: finding an entry by its key without making a call wait, and checking it. What does not: how it got
there (`fold.py`). Most keys that are asked for are not in the lake, so the keys of the lake are held in memory as
64-bit numbers and brought up to date in the background: "not there" costs a microsecond. A key that is there costs a
read of one file and one question to Postgres: is it fresh by the database's clock, and was it invalidated since?
"""

import base64
import logging
import threading
import time
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache.connections import Connections, Place, Unavailable
from retention_pipelines.cache.entry import Payload, StoredEntry
from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import CorruptEntry
from retention_pipelines.postgres.seal import Seal, header
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.settings import Settings

if TYPE_CHECKING:
    from retention_pipelines.cache.folded_keys import FoldedKeys

LOG = logging.getLogger(__name__)
# How old the knowledge of which keys there are may be.
REFRESH_SECONDS = 2.0
_LONGEST_REFRESH_SECONDS = 10.0


class LakeTier:
    """Folded entries of the settings' tenant; safe for threads. Nothing is opened before the first question.

    In the mode read_only there are no threads: the keys are brought up to date by whoever asks.
    """

    def __init__(self, settings: Settings) -> None:
        self.tenant = settings.tenant
        self._settings = settings
        self._deadline_seconds = settings.cache_deadline_seconds
        self._keys: FoldedKeys | None = None
        self._seal: Seal | None = None
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._refreshing: threading.Thread | None = None
        self._place = Place(settings)
        self._connections: Connections | None = None

    def get(self, key: str) -> StoredEntry | None:
        """The fresh entry of a key; None: not there, expired, invalidated, or not known yet. Raises CorruptEntry."""
        if time.monotonic() - self._asked_at >= REFRESH_SECONDS:
            self._refresh()
        keys = self._keys
        if keys is None or not keys.may_hold(key):
            return None
        try:
            found = keys.read(self.tenant, key)
        except OSError as error:
            LOG.warning("A folded entry could not be read: %s", error)
            return None
        return None if found is None else self._checked(key, found)

    def refresh(self) -> None:
        """Bring the keys up to date, and wait for it."""
        with loading():
            from retention_pipelines.cache.folded_keys import FoldedKeys

        with self._lock:
            if self._keys is None:
                self._keys = FoldedKeys.open(self._settings)
            self._keys.refresh()

    def _refresh(self) -> None:
        self._asked_at = time.monotonic()
        if self._settings.mode == "read_only":
            self._try_to_refresh()
        elif not self._lock.locked():
            thread = threading.Thread(target=self._try_to_refresh, name="retention-lake-keys", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                LOG.debug("The program is ending")
            else:
                self._refreshing = thread

    def _try_to_refresh(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - fails open: what is not known is a miss
            LOG.warning("The keys of the lake could not be read: %s", error)

    def _checked(self, key: str, found: dict[str, Any]) -> StoredEntry | None:
        codec = found["payload_codec"]
        try:
            payload = base64.b64decode(found["payload_base64"], validate=True)
            mac = bytes.fromhex(found["payload_mac"] or "")
        except ValueError:
            payload = mac = b""
        if self._seal is None:
            self._seal = Seal(load_secret(self._settings))
        if not self._seal.verify(header(self.tenant, "features", key, codec), payload, mac):
            raise CorruptEntry("A folded entry is damaged, foreign or forged.")
        life = self._life(key, found)
        if life is None:
            return None
        age, remaining = life
        return StoredEntry(
            key=key,
            payload=Payload(codec=codec, data=payload),
            age_seconds=age,
            remaining_seconds=remaining,
            compute_seconds=found["compute_seconds"] or 0.0,
        )

    def _life(self, key: str, found: dict[str, Any]) -> tuple[float, float | None] | None:
        """Age and remaining life by the database's clock; None: expired or invalidated, or Postgres does not say."""
        if self._connections is None:
            self._connections = Connections(
                self._place, most=2, statement_seconds=self._deadline_seconds, prepare=_nothing
            )
        said = ("computed_at", "expires_at", "function", "tags", "source_table", "source_data_id")
        asked = {"tenant": self.tenant, "cache_key": key, **{name: found[name] for name in said}}
        question = _vouch()

        def ask(con: Any) -> Any:
            return con.execute(question, asked, prepare=True).fetchone()

        try:
            row = self._connections.call(ask, seconds=self._deadline_seconds)
        except Unavailable as error:
            LOG.debug("Nobody could vouch for a folded entry: %s", error.reason)
            return None
        return None if row is None else (float(row[0]), None if row[1] is None else float(row[1]))

    def close(self) -> None:
        """Close what was opened.

        Waits for a refresh that runs: a thread that the interpreter ends while it loads DuckDB takes the program down.
        """
        thread = self._refreshing
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LONGEST_REFRESH_SECONDS)
        with self._lock:
            keys, self._keys = self._keys, None
            if keys is not None:
                keys.close()
        if self._connections is not None:
            self._connections.close()
        self._place.close()


@cache
def _vouch() -> bytes:
    return files("retention_pipelines.cache").joinpath("sql", "vouch.sql").read_bytes()


def _nothing(con: Any) -> None:
    """The one statement is prepared by psycopg when it is first used."""
