"""`retention query`: SQL over every dataset, for people and for pipes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from retention_pipelines.errors import QueryError
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse.export import Format, replacing, write_parquet_file, write_text
from retention_pipelines.warehouse.reader import connect_sandboxed, require_select


def query(
    sql: Annotated[str, typer.Argument(help='SQL, for example "select count(*) from observations". - reads stdin.')],
    style: Annotated[Format, typer.Option("--format", "-f", help="How to write the result.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")] = None,
) -> None:
    """Run SQL over every dataset and print or save the result.

    Every dataset is a view of what was last published; `show tables` lists them. Only statements that read are run.
    """
    con = connect_sandboxed(load_settings())
    text = require_select(con, sys.stdin.read() if sql == "-" else sql)
    if style is Format.PARQUET:
        if output is None:
            raise QueryError("Parquet is written to a file.", hint="Add --output result.parquet.")
        with replacing(output) as draft:
            write_parquet_file(con, text, str(draft))
    elif output is None:
        write_text(con, text, style, sys.stdout)
    else:
        with replacing(output) as draft, draft.open("w", encoding="utf-8", newline="") as out:
            write_text(con, text, style, out)
    con.close()
