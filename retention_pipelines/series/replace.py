"""Replace a small derived table whole, in one commit.

Seasonal patterns, trends and upwelling frequencies depend on all years at once and are small: they are computed
again from the series, never patched.
"""

from collections.abc import Callable

from retention_pipelines.errors import CommitConflict
from retention_pipelines.warehouse import Commit, Table

_TRIES = 8


def replace_all(table: Table, rows: Callable[[], str]) -> Commit:
    """Replace every row by those of the SELECT that `rows` returns; it is asked again after a conflict."""
    operation = f"update:{table.name}"
    for _ in range(_TRIES):
        delta = table.delta()
        live = table.live(delta)
        adds = table.write_files(rows())
        if not adds and not live:
            return Commit(version=delta.version())
        try:
            return table.commit(delta, adds, live, op=operation, transactions=[operation])
        except CommitConflict:
            continue
    raise CommitConflict(
        f"{table.name}: other updates kept committing first.", hint="Run one update of this series at a time."
    )
