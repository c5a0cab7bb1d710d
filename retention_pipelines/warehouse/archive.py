"""Moving rows between a dataset and its archive, which are two Delta tables with a commit each.

The order makes it safe: first the target has the rows, then the source loses exactly those the target has. A crash
between the two leaves rows in both and never in none; running it again finishes the job.
"""

import uuid

import duckdb

from retention_pipelines.errors import CommitConflict, LakeError
from retention_pipelines.warehouse.commit import TRIES, Commit, pause
from retention_pipelines.warehouse.duck import quote_name
from retention_pipelines.warehouse.table import Table


def move_rows(source: Table, target: Table, where: str, *, run: str) -> Commit:
    """Move the rows that match; `run` names the move and makes repeating it harmless. Returns the source's commit."""
    identity = ", ".join(quote_name(name) for name in source.dataset.key)
    _require_condition(source, where)
    if not target.has_done(run):
        matching = f"select * from {source.scan()} where coalesce({where}, false)"
        known = f"select {identity} from {target.scan()}"
        target.append(f"from ({matching}) anti join ({known}) using ({identity})", op=run, transaction=run)
    keys = f"_moved_{uuid.uuid4().hex}"
    source.con.execute(f"create temp table {keys} as select distinct {identity} from {target.scan()}")
    try:
        return _remove(source, identity, keys, run)
    finally:
        source.con.execute(f"drop table {keys}")


def _require_condition(table: Table, where: str) -> None:
    try:
        duckdb.SQLExpression(where)
        table.con.execute(f"explain select * from {table.scan_files([])} where coalesce({where}, false)").fetchall()
    except duckdb.Error as error:
        raise LakeError(
            f"{where!r} is not a condition on {table.name}: {error}", hint="For example: event_start < '2000-01-01'"
        ) from None


def _remove(source: Table, identity: str, keys: str, run: str) -> Commit:
    for attempt in range(TRIES):
        delta = source.delta()
        if source.has_done(run, delta):
            return Commit(version=delta.version())
        files = source.files_with(keys, identity, source.files(version=delta.version()))
        kept = f"from {source.scan_files(files)} anti join {keys} using ({identity})"
        try:
            adds = source.write_files(kept, frees=True) if files else []
            return source.commit(delta, adds, files, op=run, transactions=[run])
        except CommitConflict:
            pause(attempt, 0.05)
    raise CommitConflict(f"{source.name}: gave up after {TRIES} tries ({run}).", hint="Run it again with the same run.")
