"""How the rows of a table are laid out in Parquet files: their order, how hard they are packed, how large a group is.

Data comes in as it is fastest to write. What has come to rest is packed once, by what a sample of it measured. What
does not belong here: what is measured and when a file is packed again (`retention/actions/lake_pack.py`).
"""

from dataclasses import dataclass

# Files that were packed have a name that says so: it stays with them through undo, restore and checkpoints of the log.
PACKED = "packed-"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to write the rows of a partition; every one holds the same values.

    Attributes:
        order: columns the rows are sorted by.
        level: of zstd; None is the writer's own.
        group_rows: rows of a row group; None is the writer's own.
    """

    order: tuple[str, ...]
    level: int | None = None
    group_rows: int | None = None

    def __str__(self) -> str:
        said = [f"sorted by {', '.join(self.order)}" if self.order else "unsorted"]
        said += [f"zstd {self.level}"] if self.level is not None else []
        said += [f"groups of {self.group_rows:,} rows"] if self.group_rows is not None else []
        return "; ".join(said)

    @property
    def options(self) -> str:
        """What COPY is told beside the format."""
        level = "" if self.level is None else f", COMPRESSION_LEVEL {self.level}"
        groups = "" if self.group_rows is None else f", ROW_GROUP_SIZE {self.group_rows}"
        return f"COMPRESSION zstd{level}{groups}"


def is_packed(path: str) -> bool:
    """Whether a file was packed."""
    return path.rpartition("/")[2].startswith(PACKED)
