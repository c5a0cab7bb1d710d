"""Counted reads as rows: what the caches and the feature store count is added to `access_counts` and `access_log`.

What belongs here: the statement. What does not: counting, and when it is sent (`cache/access.py`, `features/reads.py`).
"""

from collections.abc import Iterable
from functools import cache
from importlib import resources

from psycopg import sql


@cache
def count_reads() -> sql.SQL:
    """Adds what `counted` gives, in one statement."""
    return sql.SQL(resources.files(__package__).joinpath("count_reads.sql").read_text(encoding="utf-8"))


def counted(tenant: str, reads: Iterable[tuple[str, str, int, float]]) -> dict[str, object]:
    """Values of the statement: dataset, key, how often it was read, and how many seconds ago last.

    Keys are texts Postgres can hold, without NUL and lone surrogates; a key may come more than once.
    """
    columns = list(zip(*reads, strict=True)) or [(), (), (), ()]
    named = dict(zip(("datasets", "keys", "hits", "ages"), map(list, columns), strict=True))
    return {"tenant": tenant, **named}
