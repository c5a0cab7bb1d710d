"""Random values come back exactly; damaged and forged bytes are corrupt, never another error or a large allocation."""

import contextlib
import dataclasses
import datetime as dt
import math
import random
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.cache import codec, keys
from retention_pipelines.cache.entry import Payload
from retention_pipelines.errors import CorruptEntry

SETTINGS = settings(max_examples=300, derandomize=True, deadline=None)


@dataclasses.dataclass
class Thing:
    a: Any
    b: Any = None


atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.text(st.characters(categories=["Cs", "Cc"]), max_size=2),
    st.binary(max_size=4),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    st.floats(width=32).map(np.float32),
    st.lists(st.floats(), max_size=4).map(np.array),
)
hashable = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.tuples(st.integers(), st.text(max_size=2)))
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.sets(hashable, max_size=3),
        st.builds(Thing, inner, inner),
    ),
    max_leaves=12,
)


@SETTINGS
@given(values)
def test_any_value_comes_back_exactly_and_in_its_order(value: Any) -> None:
    payload = codec.encode(value)
    back = codec.decode(payload)
    assert type(back) is type(value)
    assert keys.encode(back) == keys.encode(value)
    assert codec.encode(back) == payload


def seeds() -> list[Payload]:
    """Payloads of every family of types."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "t": pd.date_range("2020", periods=2, tz="UTC")})
    return [
        codec.encode(value)
        for value in (
            {"a": 1.5, "b": [1, None, "text"], "c": {"d": True}},
            {"a": math.nan, 1: (2, {3, "x"}), "z": b"bytes"},
            [Thing(1, [2.0]), Thing("x"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
            np.arange(20.0).reshape(4, 5),
            np.zeros(3, [("a", "i4"), ("b", "U3")]),
            np.ma.array([1, 2], mask=[0, 1]),
            frame,
            frame["b"],
            pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
            pa.table({"a": [1, 2], "b": ["x", None]}),
        )
    ]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few of them changed, cut, doubled or made large."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(changed))
        what = chance.randrange(5)
        if what == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif what == 1:
            changed[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif what == 2:
            del changed[place : place + chance.randrange(1, 9)]
        elif what == 3:
            changed[place:place] = changed[place : place + chance.randrange(1, 9)]
        else:
            changed[place : place + 8] = b"\xff" * 7 + b"\x7f"
        if not changed:
            return b"x"
    return bytes(changed)


def test_ten_thousand_damaged_payloads_are_corrupt_or_equal() -> None:
    chance = random.Random(11)
    for payload in seeds():
        original = keys.encode(codec.decode(payload))
        for _ in range(1000):
            other = Payload(codec=payload.codec, data=damaged(payload.data, chance))
            try:
                value = codec.decode(other)
            except CorruptEntry:
                continue
            assert keys.encode(value) == original


@pytest.mark.parametrize("number", range(10))
def test_forged_payloads_with_the_right_sum_raise_nothing_else_and_allocate_little(number: int) -> None:
    payload = seeds()[number]
    chance = random.Random(number)
    start = zlib.crc32(payload.codec.encode())
    tracemalloc.start()
    try:
        for _ in range(1000):
            body = damaged(payload.data[4:], chance)
            forged = Payload(codec=payload.codec, data=zlib.crc32(body, start).to_bytes(4, "little") + body)
            tracemalloc.reset_peak()
            with contextlib.suppress(CorruptEntry):
                codec.decode(forged)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
