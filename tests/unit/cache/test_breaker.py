"""The breaker: closed, open, and one probe at a time."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retention_pipelines.cache.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(failures=3, open_seconds=0.5, clock=clock)
    for _ in range(3):
        breaker.failed()
    return breaker, clock


def test_it_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(failures=3, open_seconds=0.5, clock=Clock())
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome()
        assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()


def test_after_half_a_second_one_caller_may_try() -> None:
    breaker, clock = opened()
    clock.now += 0.49
    assert not breaker.allows()
    clock.now += 0.02
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_fails_keeps_it_open_and_one_that_succeeds_closes_it() -> None:
    breaker, clock = opened()
    clock.now += 0.6
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    clock.now += 0.6
    assert breaker.allows()
    breaker.succeeded()
    assert all(breaker.allows() for _ in range(5))
    assert not breaker.is_open


def test_a_probe_that_never_comes_back_does_not_keep_it_open_for_ever() -> None:
    breaker, clock = opened()
    clock.now += 0.6
    assert breaker.allows()
    clock.now += 0.6
    assert breaker.allows()


def test_word_of_a_store_that_answers_lets_the_next_caller_try_at_once() -> None:
    breaker, _ = opened()
    breaker.try_now()
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    closed = Breaker()
    closed.try_now()
    assert not closed.is_open


class Machine(RuleBasedStateMachine):
    """Whatever happens: while open, at most one caller per half second is let through."""

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(failures=3, open_seconds=0.5, clock=self.clock)
        self.in_a_row = 0
        self.let_through: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.4, 0.6]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(works=st.booleans())
    def call(self, works: bool) -> None:
        was_open = self.breaker.is_open
        if not self.breaker.allows():
            assert self.in_a_row >= 3
            return
        if was_open:
            self.let_through.append(self.clock.now)
        if works:
            self.breaker.succeeded()
            self.in_a_row = 0
        else:
            self.breaker.failed()
            self.in_a_row += 1

    @invariant()
    def probes_are_half_a_second_apart_while_open(self) -> None:
        if getattr(self, "in_a_row", 0) >= 3:
            failed = self.let_through[-(self.in_a_row - 3) :] if self.in_a_row > 3 else []
            assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(failed))


TestMachine = Machine.TestCase
TestMachine.settings = settings(derandomize=True, deadline=None, max_examples=50)
