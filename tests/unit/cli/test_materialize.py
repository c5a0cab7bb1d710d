import json

from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.cli.materialize import Materialized, Outcome, parse_line


def test_the_figures_of_a_dataset_become_a_row_of_the_table() -> None:
    outcome = Outcome()
    outcome.take({"event": "asset", "asset": "trends", "partitions": 0, "rows": 4, "bytes": 99, "seconds": 0.5})
    assert outcome.done == [Materialized(asset="trends", partitions=0, rows=4, bytes=99, seconds=0.5)]


def test_runs_over_several_ranges_of_months_add_up() -> None:
    outcome = Outcome()
    for months, rows in ((1, 10), (58, 12)):
        line = {
            "event": "asset",
            "asset": "occurrences",
            "partitions": months,
            "rows": rows,
            "bytes": 5,
            "seconds": 0.5,
        }
        outcome.take(line)
    assert outcome.done == [Materialized(asset="occurrences", partitions=59, rows=12, bytes=5, seconds=1.0)]


def test_the_reason_of_a_failed_check_is_what_the_check_says() -> None:
    outcome = Outcome()
    outcome.take({"event": "check_failed", "asset": "observations", "check": "key_unique", "error": "2 keys."})
    outcome.take({"event": "failure", "step": "check_observations", "error": "1 blocking asset check failed"})
    outcome.take({"event": "end", "success": False})
    assert outcome.reasons == ["The check key_unique of observations failed: 2 keys."]
    assert outcome.success is False


def test_a_refused_request_brings_its_own_reason_and_hint() -> None:
    outcome = Outcome()
    outcome.take({"event": "end", "success": False, "error": "There is no dataset 'x'.", "hint": "Known: trends."})
    assert (outcome.reasons, outcome.hint) == (["There is no dataset 'x'."], "Known: trends.")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text())
def test_lines_that_are_no_progress_are_shown_as_they_are(text: str) -> None:
    found = parse_line(text)
    assert found == text.rstrip("\n") or (isinstance(found, dict) and "event" in json.loads(text))
