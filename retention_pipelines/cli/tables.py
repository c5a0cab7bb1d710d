"""Tables that fit a screen of 80 columns: what is typed again is never cut, the rest goes on in the next line.

What belongs here: their form. What does not: what is in them.
"""

from rich import box
from rich.table import Column, Table


def fitting(*columns: str, whole: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A table without lines between its columns; those named in `whole` are as wide as what they hold."""
    made = [Column(name, no_wrap=name in whole, overflow="fold") for name in columns]
    return Table(*made, box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title=title, title_justify="left")


__all__ = ["fitting"]
