"""Copies: a caller changes what it got, the cache does not notice, and nothing is copied that cannot change."""

import collections
import dataclasses
import datetime as dt
import enum
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest

from retention_pipelines.cache import keys
from retention_pipelines.cache.copying import copier
from retention_pipelines.errors import Unstorable


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Station:
    name: str
    depths: list[float]


@dataclasses.dataclass(frozen=True)
class Fixed:
    name: str
    depths: Any = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    depths: list[float]


class Sample(pydantic.BaseModel):
    name: str
    depths: list[float] = []
    _notes: list[str] = pydantic.PrivateAttr(default_factory=list)


class Pair(NamedTuple):
    x: Any
    y: Any = 0


def _set_item(value: Any) -> None:
    value["a"] = "changed"


def _inner_append(value: Any) -> None:
    value["a"].append("changed")


def _first_append(value: Any) -> None:
    value[0].append("changed")


def _depths(value: Any) -> None:
    value.depths.append(9.0)


def _fill(value: Any) -> None:
    value[:] = 9


def _cell(value: Any) -> None:
    value.iloc[0, 0] = 9


def _in_cell(value: Any) -> None:
    value.iloc[0, 0].append(9)


CHANGES: list[tuple[Any, Callable[[Any], None]]] = [
    ({"a": 1, "b": None}, _set_item),
    ([1, 2], lambda value: value.append(3)),
    ({1, 2}, lambda value: value.add(3)),
    ({"a": [1], "b": 2}, _inner_append),
    (([1], 2), _first_append),
    (Pair([1]), _first_append),
    ([[1], [2]], _first_append),
    (collections.OrderedDict(a=[1]), _inner_append),
    (collections.defaultdict(list, a=[1]), _inner_append),
    (collections.Counter("aab"), _set_item),
    (collections.deque([[1]], 2), _first_append),
    (bytearray(b"ab"), lambda value: value.append(1)),
    (types.SimpleNamespace(depths=[1.0]), _depths),
    (Station("a", [1.0]), _depths),
    (Station("a", [1.0]), lambda value: setattr(value, "name", "b")),
    (Fixed("a", [1.0]), _depths),
    (Slotted([1.0]), _depths),
    (Sample(name="a"), _depths),
    (Sample(name="a"), lambda value: setattr(value, "name", "b")),
    (Sample(name="a"), lambda value: value._notes.append("b")),
    (np.arange(3), _fill),
    (np.ma.array([1, 2], mask=[0, 1]), _fill),
    (pd.DataFrame({"a": [1, 2]}), _cell),
    (pd.DataFrame({"a": [[1], [2]]}), _in_cell),
    (pd.Series([[1], [2]]), lambda value: value.iloc[0].append(9)),
    (pd.Series([1, 2]), lambda value: value.__setitem__(0, 9)),
    (pd.DataFrame({"a": [1]}), lambda value: value.attrs.update(a=1)),
    (pl.DataFrame({"a": [1, 2]}), lambda value: value.insert_column(0, pl.Series("b", [1, 2]))),
    ({"frame": pd.DataFrame({"a": [1, 2]})}, lambda value: _cell(value["frame"])),
    ({"array": np.zeros(2), "a": 1}, lambda value: _fill(value["array"])),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_changing_a_copy_never_changes_the_original(number: int) -> None:
    """S14: what a caller does to its answer stays its own affair."""
    value, change = CHANGES[number]
    copy = copier(value)
    assert copy is not None
    before = keys.encode(value)
    twin = copy(value)
    assert type(twin) is type(value)
    assert keys.encode(twin) == before
    change(twin)
    assert keys.encode(value) == before
    assert keys.encode(twin) != before


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, 1.5, "a", b"a", True, (), (1, "a", (2.0, None)), frozenset({1}), range(3), Colour.RED),
        *(dt.datetime(2024, 1, 1, tzinfo=dt.UTC), Fixed("a", (1.0,)), Pair(1, 2), (Fixed("a"), Pair("x"))),
        *(np.float32(1.5), np.datetime64("2024"), pd.Timestamp("2024"), pd.NaT, pa.table({"a": [1]}), pa.scalar(1)),
        (np.float64(1), pd.Timestamp("2024")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_change_is_handed_out_as_it_is(value: object) -> None:
    assert copier(value) is None


def test_a_flat_dict_or_list_is_copied_by_its_own_method() -> None:
    assert copier({"a": 1, "b": dt.timedelta(1)}) == dict.copy
    assert copier([1, None, "a"]) == list.copy


def test_what_is_shared_within_a_value_stays_shared_in_the_copy() -> None:
    inner = [1]
    value = {"a": inner, "b": (inner, 2)}
    twin = copier(value)(value)  # type: ignore[misc]
    assert twin["a"] is twin["b"][0] is not inner


def test_what_cannot_change_is_shared_with_the_copy() -> None:
    table, fixed = pa.table({"a": [1]}), (1, (2, 3))
    value = [table, fixed, []]
    twin = copier(value)(value)  # type: ignore[misc]
    assert twin[0] is table
    assert twin[1] is fixed


def test_arrays_keep_their_order_and_flags() -> None:
    columns_first = np.asfortranarray(np.ones((3, 2)))
    twin = copier(columns_first)(columns_first)  # type: ignore[misc]
    assert twin.flags.f_contiguous
    fixed = np.ones(2)
    fixed.flags.writeable = False
    assert not copier(fixed)(fixed).flags.writeable  # type: ignore[misc]


class Plain:
    """Nobody said how to copy it."""


class Mapping(dict):  # type: ignore[type-arg]
    """Not a dict."""


def _endless() -> object:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [Plain(), [Plain()], Mapping(), object(), iter([]), _endless()], ids=lambda value: type(value).__name__
)
def test_what_nobody_said_how_to_copy_is_refused(value: object) -> None:
    with pytest.raises(Unstorable):
        copier(value)
