"""Events that are there from another file already, with other values: what came first is not replaced, but told.

What belongs here: the sentence of the report. What does not: exact duplicates (`known.sql`), taking back (`warehouse`).
"""

import duckdb

from retention_pipelines.warehouse.duck import statement

#: Formats in which an event comes again with other values, in another file: an Argo profile in delayed mode.
COME_ANEW = frozenset({"argo"})
_SHOWN = 3


def there_already(con: duckdb.DuckDBPyConnection, sha256: str) -> tuple[str, ...]:
    """Sentences on events of the new rows in `checked_rows`, of a file with that hash, that others brought, too."""
    found = con.execute(statement("retention_pipelines.sources", "there_already"), [sha256]).fetchall()
    if not found:
        return ()
    files = [
        f"{events:,} from {name}" + (f" (ingest:{identity[:12]}...)" if identity else "")
        for name, events, identity in found[:_SHOWN]
    ]
    more = f" and {len(found) - _SHOWN:,} more files" if len(found) > _SHOWN else ""
    return (
        f"Values of the same events are there already and count beside those of this file: {', '.join(files)}{more}.",
        "Where this file replaces them, take them back: `retention lake history observations`, `retention lake undo`.",
    )
