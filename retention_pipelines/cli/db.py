"""`retention db …`: the state of the tables in Postgres.

What belongs here: arguments and words. The work is in `retention_pipelines.postgres.migrate`.
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import migrate
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def upgrade(
    revision: Annotated[str, typer.Argument(help="State to bring the tables to.")] = "head", as_json: AsJson = False
) -> None:
    """Bring the tables to the newest state; makes the database where it is missing. Safe to repeat."""
    _tell(migrate.upgrade(load_settings(), revision), as_json)


def downgrade(
    revision: Annotated[str, typer.Argument(help="State to go back to; `base` removes every table.")],
    yes: Annotated[bool, typer.Option("--yes", help="Also when tables with data go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go back to an older state of the tables."""
    with open_server(load_settings()) as server:
        filled = [] if yes else migrate.filled_tables(server)
        if filled:
            raise DatabaseError(
                f"Going back may remove data: {', '.join(filled)} hold rows.",
                hint="Make a copy with pg_dump if they matter, then repeat the command with --yes.",
            )
        _tell(migrate.downgrade_server(server, revision), as_json)


def current(as_json: AsJson = False) -> None:
    """Say which state the tables are in, and which is the newest."""
    with open_server(load_settings()) as server:
        found = migrate.state(server)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "is_current": found.is_current}))
    elif found.is_current:
        typer.echo(f"The tables in {found.database} are in the newest state, {found.newest}.")
    else:
        typer.echo(
            f"The tables in {found.database} are in state {found.current or 'none'}; the newest is {found.newest}."
        )
        typer.echo("Run `retention db upgrade`.")


def _tell(done: migrate.Migration, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    elif done.before == done.after:
        typer.echo(f"The tables in {done.database} were in state {done.after or 'none'} already.")
    else:
        typer.echo(f"The tables in {done.database} went from state {done.before or 'none'} to {done.after or 'none'}.")
