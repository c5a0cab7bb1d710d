"""Months that assets leave as they are, because raw rows they would be computed from were removed or archived.

What belongs here: saying so in the run. What does not: refusing, which `series` and `features` do whoever calls them.
"""

from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg
from dagster import MetadataValue


def left_alone(context: dg.AssetExecutionContext, asked: Collection[str], removed: Mapping[str, str]) -> dict[str, Any]:
    """Metadata about the months asked for that raw rows were removed of; nothing where there are none."""
    left = {month: removed[month] for month in sorted(asked) if month in removed}
    if not left:
        return {}
    context.log.warning(
        f"Left as they are: {', '.join(left)}. Raw rows of them were removed or archived; computed again they would be "
        "incomplete, and so would longer windows that overlap them."
    )
    return {"left_alone_months": MetadataValue.json(left)}
