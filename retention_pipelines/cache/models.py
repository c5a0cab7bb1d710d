"""Versions of models: which one is current, known in every process within a second of its registration.

What belongs here: registering a version with the training sets it comes from, and asking for the current one. What does
not: what else a model needs kept (roots) and for how long (`retention`). The version is read once per call and is part
of the key, so that a prediction is never served for another version than that which made it.
"""

import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from retention_pipelines.cache import columns as fit
from retention_pipelines.cache import statements
from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import Invalidation
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.invalidation import POLL_SECONDS, InvalidationLog
from retention_pipelines.postgres.bounded import BoundedConnection

# Without a word of their owners, inputs of a retired model are kept this long.
REPRODUCIBLE_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class _Known:
    version: str
    asked_at: float


class ModelVersions:
    """Current versions, remembered until the log says that they changed."""

    def __init__(self, hot: HotTier, log: InvalidationLog) -> None:
        self._hot = hot
        self._log = log
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._changes = 0
        log.observe(self._forget)

    def current(self, model_id: str) -> str:
        """The current version with the digest of its artifact, where there is one; empty: nobody registered the model.

        While the database does not answer: the last one known, or a word that no other time or process uses.
        """
        known = self._known.get(model_id)
        # Asked again when the log has not been read lately: nobody follows it, or the database does not answer.
        if known is not None and (
            self._log.silent_seconds() < 2 * POLL_SECONDS or time.monotonic() - known.asked_at < POLL_SECONDS
        ):
            return known.version
        return self._ask(model_id, known)

    def _ask(self, model_id: str, known: _Known | None) -> str:
        asked_at = time.monotonic()
        changes = self._changes
        try:
            rows = self._hot.ask(statements.plain("current_model"), (fit.text(model_id),))
        except Unavailable:
            if known is None:
                return f"unknown-{os.getpid()}-{secrets.token_hex(8)}"
            return known.version
        version = _token(*rows[0]) if rows else ""
        with self._lock:
            # An answer from before a change must not outlive it.
            if changes == self._changes:
                self._known[model_id] = _Known(version, asked_at)
        return version

    def register(
        self,
        model_id: str,
        version: str,
        *,
        model_type: str,
        artifact_sha256: bytes | str | None = None,
        details: Mapping[str, Any] | None = None,
        reproducibility_seconds: int = REPRODUCIBLE_SECONDS,
        retire_former: bool = True,
        trained_on: Sequence[str] = (),
    ) -> str:
        """Make a version the current one of its model, in every process within a second; returns what `current` says.

        `trained_on` are keys of training sets: while the model lives and for its window after, retention keeps them,
        and the features of the studies they name in their provenance.

        Registering the version that is current already, with no other artifact, means that the model was trained again
        under its old name: all its predictions are removed. Raises `Unavailable` when it was not done.
        """
        artifact = bytes.fromhex(artifact_sha256) if isinstance(artifact_sha256, str) else artifact_sha256
        values = {
            "model_id": fit.text(model_id),
            "version": fit.text(version),
            "artifact_sha256": artifact,
            "details": Jsonb(fit.document({**(details or {}), "model_type": model_type})),
            "reproducibility_seconds": reproducibility_seconds,
            "retire_former": retire_former,
        }

        def work(con: BoundedConnection) -> None:
            # One registration of a model at a time, or both could take the other for the former.
            con.execute(
                "select pg_advisory_xact_lock(hashtext('retention_model'), hashtext(%s))", (values["model_id"],)
            )
            row = con.execute(statements.plain("current_model"), (values["model_id"],)).fetchone()
            is_same = row is not None and _token(*row) == _token(str(values["version"]), artifact)
            con.execute(statements.plain("register_model"), values)
            if trained_on:
                named = {**values, "tenant": self._hot.tenant, "keys": [fit.text(key) for key in trained_on]}
                con.execute(statements.plain("register_roots"), named)
            self._log.record_in(
                con, "model", str(values["model_id"]), None if is_same else str(values["version"]), every_tenant=True
            )

        self._hot.change(work)
        with self._lock:
            self._changes += 1
            self._known.pop(model_id, None)
        self._log.catch_up()
        return _token(str(values["version"]), artifact)

    def _forget(self, told: Invalidation) -> None:
        if told.scope in ("model", "all"):
            with self._lock:
                self._changes += 1
                if told.scope == "all" or told.target is None:
                    self._known.clear()
                else:
                    self._known.pop(told.target, None)


def _token(version: str, artifact: bytes | None) -> str:
    return version if artifact is None else f"{version}@{artifact.hex()[:16]}"
