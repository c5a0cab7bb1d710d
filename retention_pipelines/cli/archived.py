"""`retention archived`: the files of rows and training sets that policies archived or migrated out of Postgres."""

import json
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import func, select

from retention_pipelines.cli.tables import fitting
from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.postgres.tables import COLD_FILES
from retention_pipelines.retention.policies.governed import governed
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def archived(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.")] = None, as_json: AsJson = False
) -> None:
    """List what is archived, by plan: rows, files, bytes, and where the files are.

    `retention restore --plan` brings a plan's rows back, `--dataset NAME --row ID` one of them.
    """
    if dataset is not None:
        governed(dataset)
    files = COLD_FILES.c
    query = (
        select(
            files.dataset,
            files.plan_sha256,
            func.sum(files.n_rows).label("rows"),
            func.count().label("files"),
            func.sum(files.size_bytes).label("size_bytes"),
            func.sum(files.raw_bytes).label("raw_bytes"),
            func.min(files.archived_at).label("archived_at"),
            files.root,
        )
        .group_by(files.dataset, files.plan_sha256, files.root)
        .order_by(files.dataset, func.min(files.archived_at))
    )
    with open_server(load_settings()) as server:
        engine = open_engine(server, tenant=EVERY_TENANT)
        with engine.connect() as con:
            found = con.execute(query if dataset is None else query.where(files.dataset == dataset)).all()
        engine.dispose()
    if as_json:
        numbers = ("rows", "size_bytes", "raw_bytes")
        rows = [dict(row._mapping) | {name: int(row._mapping[name]) for name in numbers} for row in found]
        typer.echo(json.dumps(rows, default=str, indent=2))
        return
    sizes = ("rows", "files", "bytes", "before")
    table = fitting("dataset", "plan", *sizes, "archived", "root", whole=("plan", *sizes))
    for one in found:
        told = [f"{int(number):,}" for number in (one.rows, one.files, one.size_bytes, one.raw_bytes)]
        table.add_row(one.dataset, one.plan_sha256[:12], *told, f"{one.archived_at:%Y-%m-%d %H:%M}", one.root)
    Console().print(table if found else "Nothing is archived.")
