"""DuckDB connections and the quoting of names and literals.

Every connection of the project is made here: UTC, the project's macros, no extension from the network.
"""

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from importlib.resources import files

import duckdb
import psutil

_SPILL = "retention-spill-"
_FEW_ROWS = 500_000


def open_connection(
    path: str = ":memory:",
    *,
    read_only: bool = False,
    spill_dir: str | None = None,
    memory_limit_mb: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with the macros of `macros.sql`; never installs or loads an extension by itself.

    Sorts and joins that need more than `memory_limit_mb` (half of the memory by default) go to a folder of this
    connection's own under `spill_dir`.
    """
    con = duckdb.connect(
        path,
        read_only=read_only,
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
    )
    # Otherwise a query of some seconds draws a bar on stdout, into JSON and CSV that programs read. A notebook without
    # ipywidgets refuses the setting, because it cannot draw a bar anyway.
    with contextlib.suppress(duckdb.InvalidInputException):
        con.execute("set enable_progress_bar = false")
    # Delta refuses the spelling 'Etc/UTC'.
    con.execute("set timezone = 'UTC'")
    con.execute(f"set memory_limit = '{f'{memory_limit_mb}MB' if memory_limit_mb else '50%'}'")
    # Opening a file costs more than reading a column of it; a file that changes is read again.
    con.execute("set parquet_metadata_cache = true")
    if spill_dir is not None:
        # Two processes in one folder would write to the same files.
        own = f"{spill_dir}/{_SPILL}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        con.execute(f"set temp_directory = {quote_text(own)}")
    if not read_only:
        con.execute(files("retention_pipelines.warehouse").joinpath("macros.sql").read_text(encoding="utf-8"))
    return con


def beside(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A further connection to the same database: no other thread's, and without an open result (hazard H9).

    Temporary tables and variables of `con` are not seen by it.
    """
    own = con.cursor()
    own.execute("set timezone = 'UTC'")
    return own


@contextlib.contextmanager
def threads_for(con: duckdb.DuckDBPyConnection, rows: int) -> Iterator[None]:
    """One thread for work on few rows: to share it with others costs more than the work.

    For every connection to the same database meanwhile.
    """
    if rows > _FEW_ROWS:
        yield
        return
    con.execute("set threads = 1")
    try:
        yield
    finally:
        con.execute("reset threads")


def remove_spill_of_the_dead(spill_dir: str) -> None:
    """Remove what connections of killed processes left under `spill_dir`."""
    for entry in os.scandir(spill_dir):
        pid = entry.name.removeprefix(_SPILL).partition("-")[0]
        if entry.name.startswith(_SPILL) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(entry.path, ignore_errors=True)  # somebody else may be doing the same


def quote_name(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """A text as a quoted SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def quote_texts(values: Iterable[str]) -> str:
    """Texts as a comma-separated list of SQL literals."""
    return ", ".join(quote_text(value) for value in values)


@functools.cache
def statement(package: str, name: str) -> str:
    """Text of `name`.sql in a package: statements of more than a few lines live in files, not in strings."""
    return files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def bind(con: duckdb.DuckDBPyConnection, name: str, source: str) -> None:
    """Make FROM-clause text readable under a fixed name, so that statements in files can name it."""
    con.execute(f"create or replace temp view {quote_name(name)} as select * from {source}")


def set_variables(con: duckdb.DuckDBPyConnection, **values: object) -> None:
    """Set DuckDB variables, read in statements as getvariable('name')."""
    for name, value in values.items():
        con.execute(f"set variable {quote_name(name)} = $1", [value])
