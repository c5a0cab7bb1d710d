"""What assets are given: the lake of the settings, and the clock.

What belongs here: opening things and asking the lake about months. What does not: what assets do with them. The only
clock of the pipeline is `now()`; domain functions take the instant as an argument.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from retention_pipelines.defs.partitions import all_keys, months_in
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake

RAW_BY_MONTH = ("occurrences", "observations")


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC)


def partition_keys() -> tuple[str, ...]:
    """Every month partition there is at present, in order."""
    return all_keys(now())


@dataclass(frozen=True)
class LakeResource:
    """Opens the lake; every asset opens its own, so that no connection outlives its step."""

    settings: Settings

    @contextmanager
    def open(self) -> Iterator[Lake]:
        """The lake, closed at the end of the block."""
        with Lake(self.settings) as lake:
            yield lake


def months_present(lake: Lake, *names: str) -> set[str]:
    """Event months that datasets partitioned by month hold rows of; read from the log, not from the data."""
    return {file.partition["month"] for name in names or RAW_BY_MONTH for file in lake.table(name).files()}


def months_of(lake: Lake, keys: Collection[str]) -> tuple[str, ...]:
    """Event months that partitions stand for, by what the raw datasets hold."""
    return months_in(keys, months_present(lake), partition_keys())
