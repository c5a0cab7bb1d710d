"""Misses of entries that retention may have removed: told to Postgres in batches, behind the caller.

What belongs here: the keyed digest that stands for a removed entry, and asking which of some missed ones have one. What
does not: leaving digests (`retention/recovery/regret.py`), when misses are told (`access.py`).
"""

import hmac
from collections.abc import Mapping
from typing import Any

from retention_pipelines.cache import statements
from retention_pipelines.postgres.bounded import BoundedConnection

NO_TENANT = "-"


def key_digest(secret: bytes, tenant: str | None, dataset: str, key: str) -> bytes:
    """The keyed digest that stands for an entry."""
    parts = [(tenant or NO_TENANT).encode(), dataset.encode(), key.encode("utf-8", "surrogatepass")]
    told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(secret, b"tombstone\0" + told, "sha256")


def count_regrets(
    con: "BoundedConnection | Any", secret: bytes, tenant: str, missed: Mapping[tuple[str, str], float | None]
) -> int:
    """Count as regrets those missed entries, by dataset and key, that retention removed; each removal counts once.

    `missed` says what computing each again cost, in seconds.
    """
    values = {
        "tenant": tenant,
        "datasets": [dataset for dataset, _ in missed],
        "digests": [key_digest(secret, tenant, dataset, key) for dataset, key in missed],
        "seconds": list(missed.values()),
    }
    return int(con.execute(statements.plain("count_regrets"), values).rowcount)
