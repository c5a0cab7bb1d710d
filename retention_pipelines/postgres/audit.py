"""The audit: rows are added, never changed, and each is chained to the one before by its hash.

Writing is one INSERT; the database numbers, dates and hashes it. Verifying reads every row and hashes it here, so that
it trusts no function of the database. A chain cut off at its end shows only to somebody who noted an earlier head.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

START = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Head:
    """Last row of the chain; note it elsewhere to be able to tell later that nothing was cut off."""

    seq: int
    hash: bytes


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether the chain holds; `broken_at` is the first row that does not fit, `reason` says how."""

    rows: int
    head: Head
    broken_at: int | None = None
    reason: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every row fits."""
        return self.broken_at is None


def record(
    con: psycopg.Connection[Any],
    *,
    actor: str,
    action: str,
    subject: str,
    plan_sha256: str | None = None,
    details: Mapping[str, object] | None = None,
) -> int:
    """Add a row in the caller's transaction; returns its number. Other writers wait until that transaction ends."""
    row = con.execute(
        "insert into audit (actor, action, subject, plan_sha256, details) values (%s, %s, %s, %s, %s) returning seq",
        (actor, action, subject, plan_sha256, Jsonb(dict(details or {}))),
    ).fetchone()
    return int(row[0]) if row else 0


def verify(con: psycopg.Connection[Any], *, noted: Head | None = None) -> Verification:
    """Recompute the whole chain; with a head noted earlier, also check that it is still part of it."""
    previous, rows, seen = START, 0, noted is None or noted.seq == 0
    statement = files("retention_pipelines.postgres").joinpath("audit_rows.sql").read_bytes()
    # A named cursor: the chain may be longer than memory.
    with con.transaction(), con.cursor(name="audit_chain") as cursor:
        cursor.execute(statement)
        for seq, previous_hash, stored, content in cursor:
            head = Head(seq=rows, hash=previous)
            if seq != rows + 1:
                return Verification(rows=rows, head=head, broken_at=seq, reason=f"row {rows + 1} is missing")
            if previous_hash != previous:
                return Verification(rows=rows, head=head, broken_at=seq, reason="it does not follow the row before")
            if hashlib.sha256(previous + content.encode()).digest() != stored:
                return Verification(rows=rows, head=head, broken_at=seq, reason="its content was changed")
            previous, rows = stored, seq
            if noted is not None and noted.seq == seq:
                if noted.hash != stored:
                    return Verification(rows=rows, head=head, broken_at=seq, reason="it is not the row noted earlier")
                seen = True
    head = Head(seq=rows, hash=previous)
    if not seen and noted is not None:
        return Verification(rows=rows, head=head, broken_at=rows + 1, reason=f"rows up to {noted.seq} were cut off")
    return Verification(rows=rows, head=head)
