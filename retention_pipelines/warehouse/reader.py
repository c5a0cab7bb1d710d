"""Connections for people who read: notebooks, `retention query`, reports.

What belongs here: views of what is published, and the sandbox for SQL that someone typed. What does not: writing.
"""

import re

import duckdb

from retention_pipelines.errors import QueryError
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse.duck import quote_text
from retention_pipelines.warehouse.lake import Lake

# PIVOT counts as several statements.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)
# DuckDB 2 takes `with x as (copy … to 'file')` for a SELECT.
_WRITING = re.compile("copy|insert|update|delete|merge", re.IGNORECASE)


def connect(settings: Settings | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view of every dataset, pinned to what is published now, and the project's macros.

    Without settings they are read from the environment. Works before anything was ingested: the views are empty then.
    Connect again to see what was published since.
    """
    lake = Lake((settings or load_settings()).model_copy(update={"mode": "read_only"}))
    lake.create_views()
    return lake.con


def connect_sandboxed(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Like `connect`, for SQL we did not write: it reads the lake's files and nothing else, and changes no setting.

    Files of the lake could still be overwritten by COPY, so run only what `require_select` accepts.
    """
    con = connect(settings)
    # In this order: after the second nothing can be allowed any more, after the third nothing can be set.
    con.execute(f"set allowed_directories = [{quote_text(f'{Lake.address(settings)}/_lake/')}]")
    con.execute("set python_enable_replacements = false")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con


def require_select(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The statement without a closing semicolon; raises QueryError unless it is one that only reads."""
    text = sql.strip().rstrip(";").rstrip()
    if not text:
        raise QueryError("There is no SQL to run.", hint="For example: select count(*) from observations")
    body = _EXPLAIN.sub("", text, count=1)
    try:
        kinds = {found.type for part in (text, body) for found in con.extract_statements(part)}
    except duckdb.Error as error:
        raise QueryError(str(error)) from None
    try:
        # Only what may stand in parentheses after FROM is free of effects: no COPY, no CREATE, no second statement.
        alone = kinds <= _READING and len(con.extract_statements(f"from ({body}\n)")) == 1
    except duckdb.Error:
        alone = False
    if not alone or (_WRITING.search(body) and _writes(con, kinds, body)):
        raise QueryError(
            "Only one statement that reads is run: SELECT, FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, PIVOT or EXPLAIN.",
            hint="retention_pipelines.connect() gives a connection of your own for everything else.",
        )
    return text


def _writes(con: duckdb.DuckDBPyConnection, kinds: set[duckdb.StatementType], body: str) -> bool:
    """Whether a WITH clause holds a statement that writes: DuckDB refuses those anywhere but at the top."""
    if duckdb.StatementType.MULTI in kinds:
        return True  # asking about a PIVOT would run a part of it
    try:
        con.execute(f"explain from ({body}\n)").fetchall()
    except duckdb.Error as error:
        if "must be at the top level" in str(error):
            return True
        raise QueryError(str(error)) from None
    return False
