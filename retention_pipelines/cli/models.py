"""`retention models …`: which models are live, what they need kept, and retiring them.

Thin: each command opens the database, calls one function and prints.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from retention_pipelines.cli.tables import fitting
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.protection import models
from retention_pipelines.retention.protection.models import DAY_SECONDS, Model, Need
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ModelId = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="Its version.")]


@contextmanager
def _engine() -> Iterator[Engine]:
    with open_server(load_settings()) as server:
        engine = open_engine(server)
        try:
            yield engine
        finally:
            engine.dispose()


def instant(text: str) -> datetime:
    """An instant with a time zone, as people write it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise PolicyError(f"{text!r} is no instant.", hint="Write it as 2026-11-01T00:00:00Z.") from None
    if found.tzinfo is None:
        raise PolicyError(f"{text!r} has no time zone.", hint="Write it as 2026-11-01T00:00:00Z.")
    return found


def list_models(as_json: AsJson = False) -> None:
    """List every version of every model, and until when what it needs is kept."""
    with _engine() as engine:
        found = models.list_models(engine)
    if as_json:
        _print_json([asdict(one) | {"kept_until": one.kept_until} for one in found])
        return
    table = Table("model", "version", "state", "roots", "what it needs is kept")
    for one in found:
        until = f"until {one.kept_until:%Y-%m-%d %H:%M} UTC" if one.kept_until else "while it lives"
        table.add_row(one.model_id, one.model_version, one.state, str(one.roots), until if one.roots else "nothing")
    Console().print(table)


def register(
    model: ModelId,
    version: Version,
    needs: Annotated[
        list[str] | None,
        typer.Option(help="What it needs: DATASET:FILTER, for example \"feature_store:dataset_id = 'x'\"; repeatable."),
    ] = None,
    training_set: Annotated[
        list[str] | None, typer.Option(help="Key of a training set it was trained on; repeatable.")
    ] = None,
    lake_version: Annotated[int | None, typer.Option(help="Version of the lake table it was read at.")] = None,
    days: Annotated[int, typer.Option(help="Days for which it must stay reproducible after it retired.")] = 365,
    as_json: AsJson = False,
) -> None:
    """Register a version of a model, or add to what it needs; a second time changes nothing."""
    load_settings().require_full("Registering a model")
    wanted = [_need(one, lake_version) for one in needs or ()]
    wanted += models.needs_of_sets(training_set or ())
    with _engine() as engine:
        found = models.register_model(
            engine, model, version, needs=wanted, registered_by=who_am_i(), reproducibility_seconds=days * DAY_SECONDS
        )
        _keep_versions(engine)
    _tell(found, as_json)


def retire(
    model: ModelId,
    version: Version,
    days: Annotated[
        int | None, typer.Option(help="Days for which it must stay reproducible; as registered unless given.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="When it retired, an instant with a zone; now unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """End a model's life; what it needs is kept until its window is over."""
    load_settings().require_full("Retiring a model")
    with _engine() as engine:
        found = models.retire_model(
            engine,
            model,
            version,
            retired_by=who_am_i(),
            reproducibility_seconds=None if days is None else days * DAY_SECONDS,
            at=None if at is None else instant(at),
        )
        _keep_versions(engine)
    _tell(found, as_json)


def roots(
    model: Annotated[str | None, typer.Argument(help="Only of this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what models need kept, and whether it still is."""
    with _engine() as engine:
        found = models.list_roots(engine, model)
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    table = fitting("model", "version", "dataset", "match", "lake version", "kept", whole=("kept",))
    for one in found:
        version = "" if one.lake_version is None else str(one.lake_version)
        table.add_row(
            one.model_id, one.model_version, one.dataset, one.match, version, "yes" if one.in_force else "no more"
        )
    Console().print(table)


def _keep_versions(engine: Engine) -> None:
    with Lake(load_settings()) as lake:
        models.keep_lake_versions(engine, lake)


def _need(written: str, lake_version: int | None) -> Need:
    dataset, colon, match = written.partition(":")
    if not colon:
        raise PolicyError(f"{written!r} names no dataset.", hint="Write DATASET:FILTER.")
    return Need(dataset=dataset.strip(), match=match.strip(), lake_version=lake_version)


def _tell(found: Model, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(found) | {"kept_until": found.kept_until})
        return
    until = f"until {found.kept_until:%Y-%m-%d %H:%M} UTC" if found.kept_until else "while it lives"
    sys.stdout.write(
        f"{found.model_id} {found.model_version} is {found.state}; {found.roots} roots are kept {until}.\n"
    )


def _print_json(value: Sequence[object] | object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
