"""Which months' studies may change when records of some months changed: what is late reaches further than its month.

What belongs here: how far an observation reaches in time. What does not: which studies a month holds (`studies.py`).
"""

from collections.abc import Collection
from datetime import timedelta

from retention_pipelines.features.environmental import LONGEST_INTERVAL
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.period import Period
from retention_pipelines.warehouse import Lake, LakeFile


def affected_months(lake: Lake, months: Collection[str], options: FeatureOptions | None = None) -> tuple[str, ...]:
    """The months to compute after records of `months` were added, changed or removed; in order.

    Beside the months themselves: those that the match-up looks back from (usually the next one), and the same calendar
    month of all later years, whose climatology the observations enter. For the newest month that is the month alone.
    """
    window = (options or FeatureOptions()).window
    observed: dict[str, list[LakeFile]] = {}
    present: set[str] = set()
    for name in ("occurrences", "observations"):
        for file in lake.table(name).files():
            present.add(file.partition["month"])
            if name == "observations":
                observed.setdefault(file.partition["month"], []).append(file)
    affected = set(months)
    for month in months:
        if month not in observed:
            continue
        latest = Period.of_month(month).end + LONGEST_INTERVAL
        ends = [file.maximum["event_end"] for file in observed[month] if file.maximum.get("event_end") is not None]
        if len(ends) == len(observed[month]):
            # Statistics are cut to milliseconds.
            latest = min(latest, max(ends) + timedelta(seconds=1))
        reached = (latest + window).isoformat()[:7]
        affected |= {
            other for other in present if month <= other <= reached or (other > month and other[5:] == month[5:])
        }
    return tuple(sorted(affected))
