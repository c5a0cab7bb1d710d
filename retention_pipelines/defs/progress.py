"""A logger that hands a run's progress on as JSON lines, for programs that start runs and show them to people.

One line per step that starts, per dataset that was materialized, per check that failed and per step that failed. What
does not belong here: how it looks; the command line draws it.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster import DagsterEvent

Line = dict[str, Any]


def root_cause(error: Any) -> str:
    """The sentence of the innermost error of a failed step, without its class where it is one of ours."""
    while error.cause is not None:
        error = error.cause
    text = str(error.message).strip().replace("\n", " ")
    kind, _, said = text.partition(": ")
    return said if kind.startswith("retention_pipelines.") and said else text


class ProgressHandler(logging.Handler):
    """Turns Dagster's events into lines; the events of many partitions of one dataset become one line."""

    def __init__(self, write: Callable[[Line], None]) -> None:
        super().__init__()
        self._write = write
        self._pending: dict[str, Line] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; those that are no events are for other loggers."""
        event = getattr(record, "dagster_event", None)
        if isinstance(event, DagsterEvent):
            self._take(event)

    def _take(self, event: DagsterEvent) -> None:
        match event.event_type_value:
            case "STEP_START":
                self._write({"event": "step", "step": event.step_key})
            case "ASSET_MATERIALIZATION":
                self._collect(event)
            case "STEP_SUCCESS":
                seconds = event.step_success_data.duration_ms / 1000
                for line in self._pending.values():
                    self._write(line | {"seconds": round(seconds, 3)})
                self._pending.clear()
            case "ASSET_CHECK_EVALUATION" if not event.asset_check_evaluation_data.passed:
                check = event.asset_check_evaluation_data
                self._write(
                    {
                        "event": "check_failed",
                        "asset": check.asset_key.to_user_string(),
                        "check": check.check_name,
                        "error": check.description,
                    }
                )
            case "STEP_FAILURE":
                error = event.step_failure_data.error
                if error is not None:
                    self._write({"event": "failure", "step": event.step_key, "error": root_cause(error)})

    def _collect(self, event: DagsterEvent) -> None:
        materialization = event.step_materialization_data.materialization
        name = materialization.asset_key.to_user_string()
        line = self._pending.setdefault(name, {"event": "asset", "asset": name, "partitions": 0})
        line["partitions"] += materialization.partition is not None
        for field, key in (("rows", "dagster/row_count"), ("bytes", "bytes")):
            line[field] = materialization.metadata[key].value if key in materialization.metadata else None


def write_line(line: Line) -> None:
    """One JSON object on a line of stdout."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _make_logger(_: dg.InitLoggerContext) -> logging.Logger:
    # Not from logging.getLogger: nothing else may write to it.
    logger = logging.Logger("retention_progress", level=logging.DEBUG)
    logger.addHandler(ProgressHandler(write_line))
    return logger


progress_logger = dg.LoggerDefinition(_make_logger, description="Progress of a run as JSON lines on stdout.")
