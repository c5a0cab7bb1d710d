"""The light runtime: reads memory and Postgres, writes nothing, and has no threads or background tasks of its own.

What belongs here: what differs from the usual runtime, for places such as a worker at the edge. What does not: reading
itself. That nothing is written is enforced by the database role, not only by this code. Invalidations are asked for at
most once a second, on a call, because no thread follows their log. Opening a connection takes a thread for that moment,
where there may be threads, so that the wait for it is bounded.
"""

import logging
import time

from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.invalidation import POLL_SECONDS
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.settings import Settings

LOG = logging.getLogger(__name__)


class LightRuntime(CacheRuntime):
    """A runtime whose work all happens inside the calls that want it."""

    def __init__(self, settings: Settings) -> None:
        self._is_on = True
        self._looked_at = float("-inf")
        # As in tests nothing is started; but the tiers are there, to be read.
        super().__init__(settings.model_copy(update={"mode": "read_only"}), testing=True)
        self._open_tiers()
        if self.log is not None:
            self.log.observe(self.apply)

    @property
    def enabled(self) -> bool:
        """Whether the caches are on; every call asks, which is when the log is looked at."""
        if time.monotonic() - self._looked_at > POLL_SECONDS:
            self._look()
        return self._is_on

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._is_on = value

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        if self.log is not None:
            try:
                self.log.catch_up()
            except Unavailable as error:
                LOG.debug("The invalidation log cannot be read now: %s", error.reason)
