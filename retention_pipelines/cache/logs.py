"""Logs: what an event looks like as a line, and the file of JSON lines a person may ask for (`RETENTION_LOG_FILE`).

What belongs here: formatting and the file's handler. What does not: counting (`events.py`). A line says the outcome,
the key, the tier and the time saved; it never holds an argument, a payload or a secret.
"""

import json
import logging
import logging.handlers
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache.events import CacheEvent

if TYPE_CHECKING:
    from retention_pipelines.settings import Settings

ROOT = "retention_pipelines"
_MOST_BYTES = 10 * 1024 * 1024
_KEPT_FILES = 5
_SECRETS = re.compile(r"(?i)(://[^/\s:@]*:)[^@\s]*(@)|((?:password|passwd|secret|token|api_?key)\s*[=:]\s*)\S+")


def log_event(logger: logging.Logger, event: CacheEvent) -> None:
    """One DEBUG line for an event: `HIT memory 0.006 ms, saved 118.2 ms: module.function 5f0c…`."""
    tier = f" {event.tier}" if event.tier else ""
    saved = "" if event.saved_seconds is None else f", saved {event.saved_seconds * 1000:.3f} ms"
    took = "" if event.compute_seconds is None else f", computed in {event.compute_seconds * 1000:.3f} ms"
    why = f" ({event.reason})" if event.reason else ""
    logger.debug(
        "%s%s %.3f ms%s%s: %s %s%s",
        event.outcome.upper(),
        tier,
        event.elapsed_seconds * 1000,
        saved,
        took,
        event.function,
        event.key,
        why,
        extra={"cache_event": event},
    )


def fields_of(event: CacheEvent) -> dict[str, Any]:
    """An event as plain values for a structured line; what is not known is left out."""
    fields: dict[str, Any] = {
        "outcome": event.outcome.upper(),
        "kind": event.kind,
        "tier": event.tier,
        "function": event.function,
        "key": event.key,
        "elapsed_ms": round(event.elapsed_seconds * 1000, 4),
        "saved_ms": None if event.saved_seconds is None else round(event.saved_seconds * 1000, 4),
        "compute_ms": None if event.compute_seconds is None else round(event.compute_seconds * 1000, 4),
        "size_bytes": event.size_bytes,
        "location_grid": event.location_grid,
        "age_seconds": None if event.age_seconds is None else round(event.age_seconds, 3),
        "reason": event.reason,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


class JsonLines(logging.Formatter):
    """One JSON object per record, times in UTC; passwords in addresses and `key=value` texts are blacked out."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        event = getattr(record, "cache_event", None)
        if isinstance(event, CacheEvent):
            line |= fields_of(event)
        more = getattr(record, "fields", None)
        if isinstance(more, Mapping):
            line |= {str(name): value for name, value in more.items() if name not in line}
        if record.exc_info and record.exc_info[0] is not None:
            # The class and the place, not the message: that is the user's, and may hold what he passed.
            line["error"] = record.exc_info[0].__name__
            if where := _where(record.exc_info[2]):
                line["where"] = where
        return json.dumps(line, ensure_ascii=False, default=str)


def kind_and_place(error: BaseException) -> str:
    """What a log may tell of an exception: its text is somebody else's, and may hold what was passed."""
    where = _where(error.__traceback__)
    return f"{type(error).__name__} at {where}" if where else type(error).__name__


def _where(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def without_secrets(text: str) -> str:
    """A text with passwords of addresses and values of secret-looking names replaced."""
    return _SECRETS.sub(lambda found: f"{found[1]}***{found[2]}" if found[1] else f"{found[3]}***", text)


def configure_logging(settings: "Settings") -> logging.Handler | None:
    """Write the package's records to `log_file` as JSON lines, where one is set; a second call changes nothing.

    The file is made at once, so that one that cannot be written is an OSError here; it rotates at 10 MB, and five older
    ones are kept.
    """
    logger = logging.getLogger(ROOT)
    if settings.log_file is None:
        return None
    path = settings.log_file.absolute()
    for handler in logger.handlers:
        if isinstance(handler, _File) and handler.baseFilename == str(path):
            handler.setLevel(settings.log_level)
            _let_through(logger, handler.level)
            return handler
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _File(path, maxBytes=_MOST_BYTES, backupCount=_KEPT_FILES, encoding="utf-8")
    handler.setFormatter(JsonLines())
    handler.setLevel(settings.log_level)
    logger.addHandler(handler)
    _let_through(logger, handler.level)
    return handler


def close_logging() -> None:
    """Take our file handlers off again."""
    logger = logging.getLogger(ROOT)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _File)]:
        logger.removeHandler(handler)
        handler.close()


class _File(logging.handlers.RotatingFileHandler):
    """Our handler, told apart from the user's."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name logging calls
        """A full disk costs the line, nothing else: no traceback on the user's stderr."""


def _let_through(logger: logging.Logger, level: int) -> None:
    if logger.level == logging.NOTSET or logger.level > level:
        logger.setLevel(level)
