"""`retention regrets`: what policies let go that was asked for again, and what that cost.

Thin: the command opens the database, calls one function and prints.
"""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.recovery import regret
from retention_pipelines.settings import load_settings


def regrets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Say for every policy how much it let go, how much of that was asked for again, and what computing it cost."""
    with open_server(load_settings()) as server:
        engine = open_engine(server, tenant=EVERY_TENANT)
        try:
            found = regret.regrets(engine)
        finally:
            engine.dispose()
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1) + "\n")
        return
    table = Table("policy", "removed", "asked for again", "seconds to compute again")
    for one in found:
        share = f" ({one.regrets / one.removed:.1%})" if one.removed else ""
        table.add_row(
            one.policy_id or "none", f"{one.removed:,}", f"{one.regrets:,}{share}", f"{one.recompute_seconds:,.1f}"
        )
    Console().print(table)
