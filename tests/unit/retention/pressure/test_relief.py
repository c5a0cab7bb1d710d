"""Storage runs short: how much must go, and what goes first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.retention.pressure.relief import Candidate, Level, Watermarks, relieve

MARKS = Watermarks()
GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("used", "level"),
    [
        (0, Level.EASY),
        (799, Level.EASY),
        (800, Level.LOW),
        (849, Level.LOW),
        (850, Level.HIGH),
        (919, Level.HIGH),
        (920, Level.FULL),
        (1000, Level.FULL),
    ],
)
def test_the_level_changes_at_the_watermark_itself(used: int, level: Level) -> None:
    assert MARKS.level(used_bytes=used, total_bytes=1000) is level


def test_enough_goes_to_be_below_the_low_mark_and_nothing_before_the_high_one() -> None:
    assert MARKS.bytes_to_free(used_bytes=849, total_bytes=1000) == 0
    free = MARKS.bytes_to_free(used_bytes=850, total_bytes=1000)
    assert MARKS.level(used_bytes=850 - free, total_bytes=1000) is Level.EASY
    assert MARKS.level(used_bytes=850 - free + 1, total_bytes=1000) is Level.LOW
    assert Watermarks.over_budget(used_bytes=7, budget_bytes=5) == 2
    assert Watermarks.over_budget(used_bytes=5, budget_bytes=5) == 0


def test_watermarks_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        Watermarks(low=0.9)


def candidate(target: str, value: float | None, expires_in: float = 100.0, size: int = 10) -> Candidate:
    return Candidate(target=target, size_bytes=size, value_per_byte=value, expires_in_seconds=expires_in)


def test_the_expired_go_first_then_the_least_worth_a_byte_and_the_unmeasured_last() -> None:
    listed = [
        candidate("unknown", None),
        candidate("dear", 9.0),
        candidate("cheap later", 1.0, expires_in=200),
        candidate("cheap", 1.0),
        candidate("expired", 99.0, expires_in=-1),
        candidate("empty", 0.0, size=0),
    ]
    everything = relieve(listed, 10**9)
    assert everything.targets == ("expired", "cheap", "cheap later", "dear", "unknown")
    assert (everything.freed_bytes, everything.lacking_bytes) == (50, 10**9 - 50)
    assert relieve(listed, 15).targets == ("expired", "cheap")
    assert relieve(listed, 0).targets == ()


_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        target=st.text("abc", min_size=1, max_size=3),
        size_bytes=st.integers(0, 100),
        value_per_byte=st.one_of(st.none(), st.floats(0, 10)),
        expires_in_seconds=st.floats(-10, 10),
    ),
    max_size=12,
    unique_by=lambda one: one.target,
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(_CANDIDATES, st.integers(0, 500), st.integers(0, 500))
def test_no_more_goes_than_is_needed_and_more_pressure_takes_the_same_and_more(
    candidates: list[Candidate], less: int, more: int
) -> None:
    less, more = sorted((less, more))
    sizes = {one.target: one.size_bytes for one in candidates}
    small, big = relieve(candidates, less), relieve(candidates, more)
    assert big.targets[: len(small.targets)] == small.targets
    for relief, wanted in ((small, less), (big, more)):
        assert relief.freed_bytes == sum(sizes[target] for target in relief.targets)
        assert relief.freed_bytes + relief.lacking_bytes >= wanted
        if relief.targets:
            assert relief.freed_bytes - sizes[relief.targets[-1]] < wanted
        if relief.lacking_bytes:
            assert set(relief.targets) == {target for target, size in sizes.items() if size}
