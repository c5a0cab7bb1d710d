"""Single flight: one computes, the others share its value or its exception, and nobody waits for himself."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from retention_pipelines.cache.flight import Flights


def in_threads(n: int, call: Callable[[], object]) -> list[object]:
    """What each of n threads got, exceptions included; all begin together."""
    gate = threading.Barrier(n)

    def one() -> object:
        gate.wait(30)
        try:
            return call()
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(n) as pool:
        return [future.result(60) for future in [pool.submit(one) for _ in range(n)]]


def waited_for(flights: Flights, key: str, calls: int, joined: "list[int]") -> None:
    """Let the leader go on only when the others are there."""
    ends = time.monotonic() + 30
    while len(joined) < calls and time.monotonic() < ends:
        time.sleep(0.001)
    time.sleep(0.05)


def test_s16_two_hundred_threads_on_a_cold_key_compute_once() -> None:
    flights, computed, joined = Flights(), [], []

    def compute() -> object:
        computed.append(1)
        waited_for(flights, "k", 200, joined)
        return object()

    def call() -> object:
        joined.append(1)
        return flights.run("k", compute)

    got = in_threads(200, call)
    assert len(computed) == 1
    assert len({id(value) for value, _ in got}) == 1  # type: ignore[misc]
    assert sum(leads for _, leads in got) == 1  # type: ignore[misc]
    assert len(flights) == 0


def test_s16_fifty_coroutines_on_a_cold_key_compute_once() -> None:
    flights, computed = Flights(), []

    async def compute() -> int:
        computed.append(1)
        await asyncio.sleep(0.02)
        return 7

    async def main() -> list[tuple[int, bool]]:
        return await asyncio.gather(*(flights.run_async("k", compute) for _ in range(50)))

    got = asyncio.run(main())
    assert len(computed) == 1
    assert sorted(got) == [(7, False)] * 49 + [(7, True)]


def test_threads_share_what_a_coroutine_computes_and_the_other_way_round() -> None:
    flights, computed = Flights(), []
    begun = threading.Event()

    async def compute() -> str:
        computed.append("coroutine")
        begun.set()
        await asyncio.sleep(0.1)
        return "value"

    def plain() -> str:
        computed.append("thread")
        begun.set()
        time.sleep(0.1)
        return "value"

    async def main() -> None:
        leader = asyncio.create_task(flights.run_async("a", compute))
        await asyncio.to_thread(begun.wait, 10)
        thread = asyncio.to_thread(flights.run, "a", plain)
        assert await asyncio.gather(leader, thread) == [("value", True), ("value", False)]
        begun.clear()
        leading = asyncio.create_task(asyncio.to_thread(flights.run, "b", plain))
        await asyncio.to_thread(begun.wait, 10)
        assert await flights.run_async("b", compute) == ("value", False)
        assert await leading == ("value", True)

    asyncio.run(main())
    assert computed == ["coroutine", "thread"]


def test_a_leaders_exception_reaches_those_who_wait_each_with_its_own_traceback_and_is_forgotten() -> None:
    flights, joined, computed = Flights(), [], []

    def compute() -> None:
        computed.append(1)
        waited_for(flights, "k", 20, joined)
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("of the function", 3) from cause

    def call() -> object:
        joined.append(1)
        return flights.run("k", compute)

    got = in_threads(20, call)
    assert len(computed) == 1
    assert all(type(error) is ValueError and error.args == ("of the function", 3) for error in got)
    assert all(isinstance(error.__cause__, KeyError) for error in got)  # type: ignore[attr-defined]
    assert len({id(error) for error in got}) == 20
    assert len({id(error.__traceback__) for error in got}) == 20  # type: ignore[attr-defined]
    assert flights.run("k", lambda: "works now") == ("works now", True)


def test_an_exception_that_cannot_be_copied_is_shared_as_it_is() -> None:
    class Odd(Exception):
        def __init__(self, a: int, *, b: int) -> None:
            super().__init__(a + b)
            self.lock = threading.Lock()

    flights, joined = Flights(), []

    def compute() -> None:
        waited_for(flights, "k", 3, joined)
        raise Odd(1, b=2)

    def call() -> object:
        joined.append(1)
        return flights.run("k", compute)

    got = in_threads(3, call)
    assert [type(error) for error in got] == [Odd] * 3
    assert [str(error) for error in got] == ["3"] * 3


def test_when_the_leader_is_interrupted_one_who_waits_takes_over() -> None:
    flights, computed, joined = Flights(), [], []

    class Interrupt(BaseException):
        pass

    def compute() -> str:
        computed.append(1)
        if len(computed) == 1:
            waited_for(flights, "k", 5, joined)
            raise Interrupt
        return "value"

    def call() -> object:
        joined.append(1)
        try:
            return flights.run("k", compute)
        except Interrupt:
            return "interrupted"

    got = in_threads(5, call)
    assert got.count("interrupted") == 1
    assert len(computed) >= 2
    assert all(one == "interrupted" or one[0] == "value" for one in got)  # type: ignore[index]


def test_a_cancelled_leader_is_succeeded_and_one_who_is_cancelled_harms_nobody() -> None:
    flights, computed = Flights(), []

    async def compute() -> str:
        computed.append(1)
        await asyncio.sleep(0.2)
        return "value"

    async def main() -> None:
        tasks = [asyncio.create_task(flights.run_async("k", compute)) for _ in range(4)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        tasks[1].cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in got[:2]] == [asyncio.CancelledError] * 2
        assert [one[0] for one in got[2:] if isinstance(one, tuple)] == ["value"] * 2

    asyncio.run(main())
    assert len(computed) == 2
    assert len(flights) == 0


def test_a_key_computed_inside_itself_does_not_wait_for_itself() -> None:
    flights = Flights()

    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + flights.run("same", lambda: depth(n - 1))[0]

    assert flights.run("same", lambda: depth(5)) == (5, True)

    async def deep(n: int) -> int:
        return 0 if n == 0 else 1 + (await flights.run_async("same", lambda: deep(n - 1)))[0]

    assert asyncio.run(flights.run_async("same", lambda: deep(5))) == (5, True)  # type: ignore[arg-type]


@pytest.mark.timeout(60)
def test_two_keys_that_want_each_other_do_not_wait_for_ever() -> None:
    flights, both = Flights(), threading.Barrier(2)

    def compute(mine: str, other: str, depth: int) -> str:
        if depth:
            both.wait(30)
            return mine + flights.run(other, lambda: compute(other, mine, 0))[0]
        return mine

    with ThreadPoolExecutor(2) as pool:
        a = pool.submit(flights.run, "a", lambda: compute("a", "b", 1))
        b = pool.submit(flights.run, "b", lambda: compute("b", "a", 1))
        assert {a.result(30)[0][0], b.result(30)[0][0]} == {"a", "b"}
    assert len(flights) == 0


@pytest.mark.timeout(60)
def test_a_thread_that_inherits_the_leaders_context_does_not_wait_for_it() -> None:
    flights = Flights()

    def compute() -> str:
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(context.run, flights.run, "k", lambda: "inner").result(30)[0]

    assert flights.run("k", compute) == ("inner", True)


@pytest.mark.timeout(60)
def test_a_plain_call_on_the_event_loop_does_not_wait_for_a_coroutine_of_that_loop() -> None:
    flights = Flights()

    async def compute() -> str:
        await asyncio.sleep(0.05)
        return "coroutine"

    async def main() -> None:
        leader = asyncio.create_task(flights.run_async("k", compute))
        await asyncio.sleep(0.01)
        assert flights.run("k", lambda: "plain") == ("plain", True)
        assert await leader == ("coroutine", True)

    asyncio.run(main())


def test_other_keys_do_not_wait() -> None:
    flights, gate = Flights(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(flights.run, "slow", lambda: gate.wait(30))
        assert flights.run("quick", lambda: 1) == (1, True)
        gate.set()
        assert slow.result(30) == (True, True)
