"""Logs: what a line says, and what it must never say."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from retention_pipelines import cache_predictions, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.logs import close_logging, configure_logging, without_secrets
from retention_pipelines.settings import load_settings


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    logger = logging.getLogger("retention_pipelines")
    level = logger.level
    with caching.testing():
        yield
    close_logging()
    logger.setLevel(level)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_debug_lines_say_hit_or_miss_key_tier_and_milliseconds_saved(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "ml_retention.log"
    configure_logging(load_settings({}, log_file=path, log_level="DEBUG"))
    assert path.read_text() == "", "whether it can be written is known at once"

    @cache_predictions("species")
    def predict(password: str) -> str:
        return password * 2

    predict("hunter2")
    predict("hunter2")
    miss, hit = lines(path)
    assert (miss["outcome"], hit["outcome"]) == ("MISS", "HIT")
    assert (hit["tier"], hit["key"], hit["kind"]) == ("memory", predict.key("hunter2"), "predictions")
    assert isinstance(hit["saved_ms"], float)
    assert isinstance(miss["compute_ms"], float)
    assert str(hit["message"]).startswith("HIT memory ")
    assert "hunter2" not in path.read_text(encoding="utf-8")


def test_the_level_of_the_settings_holds(tmp_path: Path) -> None:
    path = tmp_path / "ml_retention.log"
    configure_logging(load_settings({}, log_file=path, log_level="INFO"))

    @cache_predictions("species")
    def predict(x: int) -> int:
        return x

    predict(1)
    logging.getLogger("retention_pipelines.cache").info("told")
    assert [line["message"] for line in lines(path)] == ["told"]


def test_configuring_twice_writes_once(tmp_path: Path) -> None:
    settings = load_settings({}, log_file=tmp_path / "ml_retention.log")
    assert configure_logging(settings) is configure_logging(settings)
    logging.getLogger("retention_pipelines").info("told")
    assert len(lines(tmp_path / "ml_retention.log")) == 1
    assert configure_logging(load_settings({})) is None


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://me:hunter2@host/db is away", "postgresql://me:***@host/db is away"),
        ("password=hunter2 host=x", "password=*** host=x"),
        ("RETENTION_CACHE_SECRET=hunter2", "RETENTION_CACHE_SECRET=***"),
        ("token: hunter2", "token: ***"),
        ("the key 5f0c", "the key 5f0c"),
    ],
)
def test_secrets_are_blacked_out(text: str, clean: str) -> None:
    assert without_secrets(text) == clean


def test_a_logged_failure_names_class_and_place_but_not_its_text(tmp_path: Path) -> None:
    path = tmp_path / "ml_retention.log"
    configure_logging(load_settings({}, log_file=path))
    try:
        raise ValueError("what the user passed")
    except ValueError:
        logging.getLogger("retention_pipelines.cache").exception("failed")
    [line] = lines(path)
    assert line["error"] == "ValueError"
    assert str(line["where"]).startswith("test_logs.py:")
    assert "passed" not in json.dumps(line)


def test_a_log_file_that_cannot_be_made_costs_the_log_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "ml_retention.log", tmp_path):
        runtime.log_to_file(load_settings({}, log_file=path))
    assert caplog.text.count("No log is written") == 2
