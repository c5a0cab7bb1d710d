"""What a worker decides, apart from what it does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.work_queue import study_name
from retention_pipelines.integration.worker import LONGEST_RETRY_SECONDS, reason_of, seconds_to_retry


class Study:
    dataset_id = "survey"
    event_id = "haul/1"


def test_the_wait_grows_up_to_an_hour_and_ends_with_the_last_attempt() -> None:
    waits = [seconds_to_retry(n, 8) for n in range(1, 9)]
    assert waits == [10.0, 40.0, 160.0, 640.0, 2560.0, 3600.0, 3600.0, None]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(1, 50), st.integers(1, 50))
def test_a_job_waits_longer_each_time_and_never_for_ever(attempts: int, most: int) -> None:
    wait = seconds_to_retry(attempts, most)
    assert (wait is None) == (attempts >= most)
    later = seconds_to_retry(attempts + 1, most)
    if wait is not None and later is not None:
        assert 0 < wait <= later <= LONGEST_RETRY_SECONDS


@pytest.mark.parametrize(
    "study",
    ["survey/haul/1", {"source_data_id": "survey/haul/1"}, {"dataset_id": "survey", "event_id": "haul/1"}, Study()],
)
def test_a_study_is_named_by_itself_or_by_its_parts(study: object) -> None:
    assert study_name(study) == "survey/haul/1"


@pytest.mark.parametrize(
    "study",
    [
        "haul-1", "/haul-1", "survey/", "", None, 7, {}, {"event_id": "haul-1"}, "a/b\0c", "a/\ud800",
        {"source_data_id": 7}, {"dataset_id": "survey", "event_id": 7},
    ],
)  # fmt: skip
def test_what_names_no_study_is_refused_with_what_to_give(study: object) -> None:
    with pytest.raises(IntegrationError, match="dataset_id"):
        study_name(study)


def test_a_reason_is_one_that_postgres_can_hold() -> None:
    assert reason_of(ValueError("a\0b")) == "ValueError: ab"
    assert reason_of(IntegrationError("", hint=None)) == "IntegrationError"
    assert len(reason_of(ValueError("x" * 10_000))) <= 2000
