"""`retention hold`, `release`, `holds`, `pin`, `unpin`, `pins`: what stays; and `retention audit verify`.

Thin: each command opens the database, calls one function and prints.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import Engine

from retention_pipelines.cli.models import instant
from retention_pipelines.cli.tables import fitting
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.protection.holds import list_holds, place_hold, release_hold
from retention_pipelines.retention.protection.pins import list_pins, place_pin, release_pin
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def _engine() -> Iterator[Engine]:
    with open_server(load_settings()) as server:
        engine = open_engine(server)
        try:
            yield engine
        finally:
            engine.dispose()


def hold(
    dataset: Annotated[str, typer.Argument(help="Dataset, for example feature_store.")],
    match: Annotated[str, typer.Argument(help="Filter of what to keep, for example \"dataset_id = 'x'\"; everything.")],
    reason: Annotated[str, typer.Option(help="Why, a sentence.")],
) -> None:
    """Keep what matches until it is released: no policy, run or erasure order removes it."""
    load_settings().require_full("Placing a hold")
    with _engine() as engine:
        placed = place_hold(engine, dataset=dataset, match=match, reason=reason, placed_by=who_am_i())
    sys.stdout.write(f"Hold {placed.hold_id} keeps {placed.dataset} where {placed.match}.\n")


def release(number: Annotated[int, typer.Argument(help="Number of the hold.")]) -> None:
    """End a hold; what it kept follows its policy again."""
    load_settings().require_full("Releasing a hold")
    with _engine() as engine:
        ended = release_hold(engine, number, released_by=who_am_i())
    sys.stdout.write(f"Hold {ended.hold_id} on {ended.dataset} is released.\n")


def holds(
    every: Annotated[bool, typer.Option("--all", help="Also those that were released.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the holds in force."""
    with _engine() as engine:
        found = list_holds(engine, released=every)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1, default=str) + "\n")
        return
    if not found:
        sys.stdout.write("There are no holds.\n" if every else "No hold is in force.\n")
        return
    table = fitting("hold", "dataset", "match", "reason", "by", "since", "released", whole=("hold", "since"))
    for one in found:
        released = f"{one.released_at:%Y-%m-%d}" if one.released_at else ""
        table.add_row(
            str(one.hold_id), one.dataset, one.match, one.reason, one.placed_by, f"{one.placed_at:%Y-%m-%d}", released
        )
    Console().print(table)


def pin(
    dataset: Annotated[str, typer.Argument(help="Dataset, for example feature_store.")],
    match: Annotated[str, typer.Argument(help="Filter of what to keep, for example \"dataset_id = 'x'\"; everything.")],
    reason: Annotated[str, typer.Option(help="What for, a sentence.")],
    until: Annotated[str | None, typer.Option(help="When it ends by itself, for example 2027-01-01T00:00:00Z.")] = None,
) -> None:
    """Keep what matches until a date, or until it is unpinned: policies pass it over, erasure orders do not."""
    load_settings().require_full("Placing a pin")
    end = None if until is None else instant(until)
    with _engine() as engine:
        placed = place_pin(engine, dataset=dataset, match=match, reason=reason, placed_by=who_am_i(), until=end)
    ends = "" if placed.pinned_until is None else f" until {placed.pinned_until:%Y-%m-%d %H:%M} UTC"
    sys.stdout.write(f"Pin {placed.pin_id} keeps {placed.dataset} where {placed.match}{ends}.\n")


def unpin(number: Annotated[int, typer.Argument(help="Number of the pin.")]) -> None:
    """Take a pin away; what it kept follows its policy again."""
    load_settings().require_full("Taking a pin away")
    with _engine() as engine:
        ended = release_pin(engine, number, released_by=who_am_i())
    sys.stdout.write(f"Pin {ended.pin_id} on {ended.dataset} is taken away.\n")


def pins(
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the pins in force."""
    with _engine() as engine:
        found = list_pins(engine, ended=every)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1, default=str) + "\n")
        return
    if not found:
        sys.stdout.write("There are no pins.\n" if every else "No pin is in force.\n")
        return
    table = fitting("pin", "dataset", "match", "reason", "by", "until", "taken away", whole=("pin",))
    for one in found:
        until = f"{one.pinned_until:%Y-%m-%d %H:%M}" if one.pinned_until else ""
        released = f"{one.released_at:%Y-%m-%d}" if one.released_at else ""
        table.add_row(str(one.pin_id), one.dataset, one.match, one.reason, one.placed_by, until, released)
    Console().print(table)


def verify(
    noted: Annotated[
        str | None, typer.Option(help="A head noted earlier, NUMBER:HASH, to see that it is still there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the whole audit chain. Note the head it prints elsewhere, to be able to tell that none was cut off.

    Exit codes: 0 the chain holds; 1 it is broken; 2 a mistake.
    """
    with open_server(load_settings()) as server, connect(server) as con:
        found = audit.verify(con, noted=_head(noted))
    if as_json:
        said = {
            "holds": found.holds,
            "rows": found.rows,
            "head": f"{found.head.seq}:{found.head.hash.hex()}",
            "broken_at": found.broken_at,
            "reason": found.reason,
        }
        sys.stdout.write(json.dumps(said, indent=1) + "\n")
    elif found.holds:
        sys.stdout.write(f"The audit holds: {found.rows:,} rows, head {found.head.seq}:{found.head.hash.hex()}\n")
    else:
        sys.stdout.write(f"The audit is broken at row {found.broken_at}: {found.reason}.\n")
    if not found.holds:
        raise typer.Exit(1)


def _head(noted: str | None) -> audit.Head | None:
    if noted is None:
        return None
    number, _, digest = noted.partition(":")
    try:
        return audit.Head(seq=int(number), hash=bytes.fromhex(digest))
    except ValueError:
        raise PolicyError(f"{noted!r} is no head of the audit.", hint="Write it as printed: NUMBER:HASH.") from None
