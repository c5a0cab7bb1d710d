"""The memory tier against a model that is a dict: any order of puts, gets, removals and changes of bounds."""

import time
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from retention_pipelines.cache.memory import MemoryTier

KEYS = st.sampled_from(["a", "b", "c", "d"])
NAMES = st.sampled_from(["x", "y"])
HOUR = 3600.0


class Memory(RuleBasedStateMachine):
    """Everything fits, so the tier must hold exactly what the model holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tier = MemoryTier(max_entries=1000, max_bytes=64 << 20)
        self.model: dict[str, dict[str, Any]] = {}
        self.begun: dict[str, tuple[int, dict[str, Any]]] = {}
        self.removed_since: dict[str, list[tuple[str, str | None]]] = {}
        self.value = 0

    @rule(
        key=KEYS,
        function=NAMES,
        tag=NAMES,
        model=NAMES,
        hours_left=st.sampled_from([-2, -1, 1, None]),
        stale=st.booleans(),
    )
    def put(self, key: str, function: str, tag: str, model: str, hours_left: int | None, stale: bool) -> None:
        self.value += 1
        life = None if hours_left is None else 10 * HOUR
        age = 0.0 if hours_left is None else (10 - hours_left) * HOUR
        made = {"value": [self.value], "function": function, "tag": tag, "model": model, "left": hours_left}
        kept = self._put(key, made, life, age, stale, None)
        assert kept == (hours_left is None or hours_left > 0 or (stale and hours_left > -1.5))

    def _put(
        self, key: str, made: dict[str, Any], life: float | None, age: float, stale: bool, since: int | None
    ) -> bool:
        kept = self.tier.put(
            key,
            made["value"],
            size_bytes=10,
            ttl_seconds=life,
            computed_monotonic=time.monotonic() - age,
            compute_seconds=0.0,
            copy=list,
            function=made["function"],
            tags=(made["tag"],),
            model=made["model"],
            since=since,
            stale_seconds=1.5 * HOUR if stale else 0.0,
        )
        if kept:
            self.model[key] = made
        else:
            self.model.pop(key, None)
        return kept

    @rule(key=KEYS, function=NAMES, tag=NAMES)
    def begin(self, key: str, function: str, tag: str) -> None:
        made = {"value": ["slow"], "function": function, "tag": tag, "model": "x", "left": None}
        self.begun[key] = (self.tier.number(), made)
        self.removed_since[key] = []

    @rule(key=KEYS)
    def finish(self, key: str) -> None:
        if key not in self.begun:
            return
        since, made = self.begun.pop(key)
        named = {("key", key), ("function", made["function"]), ("tag", made["tag"]), ("model", "x"), ("all", None)}
        outdated = bool(named.intersection(self.removed_since.pop(key)))
        before = self.model.get(key)
        kept = self._put(key, made, None, 0.0, False, since)
        assert kept == (not outdated)
        if outdated and before is not None:
            self.model[key] = before  # put since the removal by somebody else

    @rule(key=KEYS, stale_hours=st.sampled_from([0.0, 1.2]))
    def get(self, key: str, stale_hours: float) -> None:
        held = self.tier.get(key, stale_seconds=stale_hours * HOUR)
        expected = self.model.get(key)
        if expected is not None and expected["left"] is not None and expected["left"] < -stale_hours:
            expected = None
        if expected is None:
            assert held is None
        else:
            assert held is not None
            assert held.answer() == expected["value"]
            held.answer().append("changed")
            assert held.answer() == expected["value"]

    @rule(scope=st.sampled_from(["function", "tag", "model"]), name=NAMES)
    def remove_where(self, scope: Any, name: str) -> None:
        self.tier.remove_where(scope, name)
        self._removed(scope, name)
        self.model = {key: made for key, made in self.model.items() if made[scope] != name}

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.tier.remove(key)
        self._removed("key", key)
        self.model.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.tier.clear()
        self._removed("all", None)
        self.model.clear()

    def _removed(self, scope: str, target: str | None) -> None:
        for seen in self.removed_since.values():
            seen.append((scope, target))

    @rule(more=st.integers(1, 100))
    def grow(self, more: int) -> None:
        self.tier.resize(max_entries=self.tier.max_entries + more)

    @rule()
    def shrink(self) -> None:
        self.tier.resize(max_entries=1000, max_bytes=64 << 20)
        for key in list(self.model):
            if self.tier.get(key, stale_seconds=2 * HOUR) is None:
                del self.model[key]


Memory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, derandomize=True, deadline=None)
TestMemory = Memory.TestCase
