"""Leases: what is being read or built right now stays. They are renewed while in use and end by themselves.

What belongs here: taking, renewing and giving back. What does not: what a lease keeps, which plans and runs look up.
A lease whose holder was killed ends within `seconds`; nobody needs to clean up after it.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Engine, delete, func, insert, update
from sqlalchemy.exc import SQLAlchemyError

from retention_pipelines.errors import PolicyError, RetentionError
from retention_pipelines.postgres.tables import LEASES
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.policies.governed import governed

LOG = logging.getLogger(__name__)
# Long enough to sleep through a restart of the database, short enough that a dead reader blocks nothing for long.
SECONDS = 300.0


@contextmanager
def lease(
    engine: Engine, *, dataset: str, match: str, reason: str, placed_by: str, seconds: float = SECONDS
) -> Iterator[int]:
    """Keep what matches while the block runs; yields the lease's number.

    A thread renews it three times in `seconds`. Where a renewal fails it is tried again; the lease ends when none
    succeeded for `seconds`. No run that looks at its protections within the block removes what matches.
    """
    if seconds <= 0:
        raise PolicyError("A lease needs a duration above 0.", hint=f"Leave it out for {SECONDS:g} seconds.")
    chosen = governed(dataset)
    written = text(parse(match, chosen.fields))
    until = func.clock_timestamp() + timedelta(seconds=seconds)
    with engine.begin() as con:
        # Whoever died left a row behind that keeps nothing any more.
        con.execute(delete(LEASES).where(LEASES.c.leased_until < func.now() - timedelta(days=1)))
        number = con.execute(
            insert(LEASES)
            .values(dataset=chosen.name, match=written, reason=reason, placed_by=placed_by, leased_until=until)
            .returning(LEASES.c.lease_id)
        ).scalar_one()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(seconds / 3):
            try:
                with engine.begin() as con:
                    con.execute(update(LEASES).where(LEASES.c.lease_id == number).values(leased_until=until))
            except (SQLAlchemyError, RetentionError) as error:
                LOG.warning("Lease %d on %s could not be renewed: %s", number, chosen.name, type(error).__name__)

    thread = threading.Thread(target=renew, name=f"retention-lease-{number}", daemon=True)
    thread.start()
    try:
        yield number
    finally:
        ended.set()
        thread.join()
        try:
            with engine.begin() as con:
                con.execute(delete(LEASES).where(LEASES.c.lease_id == number))
        except (SQLAlchemyError, RetentionError) as error:
            LOG.warning("Lease %d on %s ends by itself: %s", number, chosen.name, type(error).__name__)
