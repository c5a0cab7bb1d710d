"""What became of retention runs, as Dagster shows it: metadata of a materialization, or a failure that says why.

What belongs here: outcomes and errors in, Dagster's words out. What does not: executing anything.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import MetadataValue, TableRecord

from retention_pipelines.errors import RetentionError, RunBusy, RunRefused

if TYPE_CHECKING:
    from retention_pipelines.retention.plans.plan_store import PlanRecord
    from retention_pipelines.retention.runs.run import Outcome

UNKNOWN = "unknown"


def outcome_metadata(done: "Outcome", record: "PlanRecord", policy: str) -> dict[str, Any]:
    """What an executed plan did, how much of it, why, and how to look into it or take it back."""
    return {
        "policy": policy,
        "state": done.state,
        "removed_rows": done.removed,
        "stayed_rows": done.kept,
        "missing_rows": done.missing,
        "archived_rows": done.archived,
        "packed_rows": done.rewritten,
        # In partitions of which too little has expired to be worth rewriting yet, or all of the newest.
        "left_for_later_rows": sum(
            one["expired"] for one in record.counts.get("partitions", ()) if one["fate"] in ("leave", "newest")
        ),
        "logical_bytes": _known(done.logical_bytes),
        "file_bytes": _known(done.file_bytes),
        "disk_bytes": _known(done.disk_bytes),
        "reasons": _reasons(record),
        "as_of": MetadataValue.timestamp(record.as_of),
        "grace_until": MetadataValue.timestamp(done.grace_until) if done.grace_until else UNKNOWN,
        "plan_sha256": done.plan_sha256,
        "look_into_it": MetadataValue.md(
            f"- why a row stays or goes: `retention explain {done.dataset} ROW`\n"
            f"- what runs did: `retention history {done.dataset}`\n"
            f"- take this one back, within its grace: `retention restore --plan {done.plan_sha256}`"
        ),
    }


def outcomes_table(outcomes: Mapping[str, "Outcome"]) -> dict[str, Any]:
    """Several outcomes, a line each, and their sums; unknown is not 0, so a sum over an unknown figure is unknown."""
    rows = [
        TableRecord(
            {
                "what": name,
                "state": done.state,
                "removed_rows": done.removed,
                "file_bytes": UNKNOWN if done.file_bytes is None else f"{done.file_bytes:,}",
                "disk_bytes": UNKNOWN if done.disk_bytes is None else f"{done.disk_bytes:,}",
                "plan_sha256": done.plan_sha256,
            }
        )
        for name, done in outcomes.items()
    ]
    told: dict[str, Any] = {"plans": len(rows), "removed_rows": sum(done.removed for done in outcomes.values())}
    return told | ({"outcomes": MetadataValue.table(rows)} if rows else {})


@contextmanager
def failing_visibly() -> Iterator[None]:
    """Turn our errors into failures of the step that say what happened and what to do, and are not tried again."""
    try:
        yield
    except RetentionError as error:
        raise failure(error) from error


def failure(error: RetentionError) -> dg.Failure:
    """A failed step whose page says why: what a guard refused, who holds the dataset, or what is broken."""
    metadata: dict[str, Any] = {"reason": error.message}
    if error.hint:
        metadata["what_to_do"] = error.hint
    kind = "Failed"
    if isinstance(error, RunRefused):
        kind = "Refused, nothing was removed"
        metadata |= _confirmation(error)
    elif isinstance(error, RunBusy):
        kind = "Busy, nothing was done"
    return dg.Failure(description=f"{kind}: {error}", metadata=metadata, allow_retries=False)


def fail(errors: Mapping[str, RetentionError], told: Mapping[str, Any]) -> dg.Failure:
    """A failed step that did what it could: every reason, and what was done nevertheless."""
    said = {name: failure(error) for name, error in errors.items()}
    metadata: dict[str, Any] = dict(told)
    for name, one in said.items():
        metadata |= {f"{name}: {label}": value for label, value in one.metadata.items()}
    text = "\n".join(f"{name}: {one.description}" for name, one in said.items())
    return dg.Failure(description=text, metadata=metadata, allow_retries=False)


def _confirmation(error: RunRefused) -> dict[str, Any]:
    if error.plan_sha256 is None:
        return {}
    command = f"retention run {error.plan_sha256} --confirm {error.plan_sha256}"
    how = (
        f"Read the plan, then: `{command}`"
        if error.can_confirm
        else "Nobody can confirm this one: see what_to_do. A new run makes a new plan."
    )
    return {"plan_sha256": error.plan_sha256, "confirm": MetadataValue.md(how)}


def _known(count: int | None) -> int | str:
    return UNKNOWN if count is None else count


def _reasons(record: "PlanRecord") -> MetadataValue:
    """Rows of the whole dataset by verdict and what decided, as the plan counted them."""
    rows = [
        TableRecord(
            {
                "verdict": str(one["verdict"]),
                "policy": one["policy"] or "none governs",
                "ruled_by": one["ruled_by"] or "",
                "anomaly": one["anomaly"] or "",
                "rows": one["rows"],
                "bytes": one["size_bytes"],
            }
        )
        for one in record.counts.get("verdicts", ())
    ]
    return MetadataValue.table(rows) if rows else MetadataValue.text("The dataset is empty.")
