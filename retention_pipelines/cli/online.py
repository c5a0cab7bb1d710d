"""`retention online …`: the hot rows that `FeatureStore.online` reads.

What belongs here: arguments and words. The work is in `retention_pipelines.features.hot_rows`.
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from retention_pipelines.features.hot_rows import load_hot_rows, read_held
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def load(
    full: Annotated[bool, typer.Option("--full", help="Compare every row, not only what changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the hot rows in Postgres to the newest state of the lake."""
    settings = load_settings()
    settings.require_full("Loading hot rows")
    with open_server(settings) as server, Lake(settings) as lake:
        done = load_hot_rows(lake, server, tenant=settings.tenant, seal=Seal(load_secret(settings)), full=full)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    for one in done.types:
        changes = f"{one.rows_written} written, {one.rows_removed} removed"
        typer.echo(f"{one.feature_type}: {one.rows_held} rows, {'unchanged' if one.how == 'unchanged' else changes}.")


def status(as_json: AsJson = False) -> None:
    """Say which state of the lake the hot rows hold, and which is the newest."""
    settings = load_settings()
    with open_server(settings) as server, connect(server, tenant=settings.tenant) as con:
        held = read_held(con)
    with Lake(settings.model_copy(update={"mode": "read_only"})) as lake:
        newest = lake.table("feature_store").version()
    if as_json:
        typer.echo(
            json.dumps({"newest": newest, "held": {kind: asdict(one) for kind, one in held.items()}}, default=str)
        )
        return
    if not held:
        typer.echo("No hot rows were loaded yet: `retention online load`.")
    for kind, one in held.items():
        behind = "" if one.lake_version >= newest else f", the lake is at {newest}"
        typer.echo(
            f"{kind}: {one.rows_held} rows of version {one.lake_version}{behind}, loaded {one.loaded_at:%F %H:%M}."
        )
