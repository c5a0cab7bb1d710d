"""pandas, Polars and Arrow in the tree."""

from typing import Any

from retention_pipelines.cache.codec.tree import Write
from retention_pipelines.cache.codec.wire import Reader
from retention_pipelines.errors import CorruptEntry


def writer_of(kind: type) -> Write | None:
    """The writer of a type of pandas, Polars or Arrow."""
    return None


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    raise CorruptEntry("The stored value has a tag that is not known here.")
