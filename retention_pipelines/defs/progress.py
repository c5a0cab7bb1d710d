"""A logger that hands a run's progress on as JSON lines, for programs that start runs and show them to people."""

import json
import logging
import sys
from typing import Any

import dagster as dg
from dagster import DagsterEvent


class _Lines(logging.Handler):
    """Writes one JSON object per materialization, failed check and failed step to stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        line = describe(event) if event is not None else None
        if line is not None:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


def describe(event: DagsterEvent) -> dict[str, Any] | None:
    """What a person wants to know of an event, or None."""
    if event.event_type_value == "STEP_START":
        return {"event": "step", "step": event.step_key}
    return None


@dg.logger(description="Progress of a run as JSON lines on stdout.")
def progress_logger(_: Any) -> logging.Logger:
    """A logger of its own, so that nothing else writes to it."""
    logger = logging.Logger("retention_progress", level=logging.DEBUG)
    logger.addHandler(_Lines())
    return logger
