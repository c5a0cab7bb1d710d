"""Two calls share a key exactly when a slow, independent oracle says they are the same call."""

import datetime as dt
import decimal
import enum
import math
import random
import string
import zoneinfo
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.cache import keys

SETTINGS = settings(max_examples=400, derandomize=True, deadline=None)
HERE = {"namespace": "n", "tenant": "t"}


class Kind(enum.Enum):
    FISH = 1
    BIRD = 2


ZONES = [None, dt.UTC, zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=2))]

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 2),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, math.nan]),
    st.text(max_size=4),
    st.text(alphabet="a,'\"\\:{}[]()1#*", max_size=5),
    st.binary(max_size=3),
    st.decimals(allow_nan=False, places=1, min_value=-2, max_value=2),
    st.datetimes(timezones=st.sampled_from(ZONES), allow_imaginary=False),
    st.dates(),
    st.sampled_from(Kind),
)
hashable = st.one_of(
    st.booleans(), st.integers(-2, 2), st.text(alphabet="ab1", max_size=2), st.tuples(st.integers(0, 1))
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(hashable, inner, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.sets(hashable, max_size=3),
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """The oracle: whether no function could tell these apart, but for the order of dicts and sets."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        both_missing = math.isnan(one) and math.isnan(other)
        return both_missing or (one == other and math.copysign(1, one) == math.copysign(1, other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(same(key, twin) and same(item, other[twin]) for twin in other) for key, item in one.items()
        )
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dt.datetime):
        zones = type(one.tzinfo) is type(other.tzinfo) and repr(one.tzinfo) == repr(other.tzinfo)
        return zones and one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.fold == other.fold
    if isinstance(one, decimal.Decimal):
        return one.as_tuple() == other.as_tuple()
    return bool(one == other)


def changed(value: Any, chance: random.Random) -> Any:
    """A value that is nearly the same: one thing in it became something that looks alike."""
    if isinstance(value, list | tuple) and value and chance.random() < 0.8:
        items = list(value)
        place = chance.randrange(len(items))
        items[place] = changed(items[place], chance)
        return type(value)(items)
    if isinstance(value, dict) and value and chance.random() < 0.8:
        pairs = list(value.items())
        chance.shuffle(pairs)
        if chance.random() < 0.5:
            return dict(pairs)
        return {key: changed(item, chance) if place == 0 else item for place, (key, item) in enumerate(pairs)}
    alike: dict[type, list[Any]] = {
        bool: [int, float, str],
        int: [float, str, bool, lambda each: -each, lambda each: [each], decimal.Decimal],
        float: [str, lambda each: -each, lambda each: math.nextafter(each, math.inf)],
        str: [str.encode, lambda each: each + "'", lambda each: each[::-1], list],
        bytes: [bytearray, bytes.hex],
        list: [tuple, lambda each: [each]],
        tuple: [list, lambda each: (each,)],
        set: [frozenset, sorted],
        frozenset: [set],
        dt.datetime: [dt.datetime.isoformat, lambda each: each.replace(tzinfo=chance.choice(ZONES)), dt.datetime.date],
    }
    options = alike.get(type(value), [lambda each: each])
    try:
        return chance.choice(options)(value)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError):
        return value


@SETTINGS
@given(values, values)
def test_two_values_share_an_encoding_exactly_when_the_oracle_says_they_are_the_same(one: Any, other: Any) -> None:
    assert (keys.encode(one) == keys.encode(other)) == same(one, other)


@SETTINGS
@given(values, st.integers(0, 10**6))
def test_a_value_changed_in_one_place_shares_an_encoding_only_when_it_is_the_same(value: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        other = changed(value, chance)
        assert (keys.encode(value) == keys.encode(other)) == same(value, other)


def function(a: Any, b: Any = 2, /, c: Any = None, *rest: Any, d: Any = 1.0, **more: Any) -> None:
    """Every kind of parameter."""


def as_seen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The oracle of binding, written out by hand: what `function` would see."""
    given_positions = list(args[:3])
    named = dict(kwargs)
    if len(given_positions) < 2:
        given_positions += [2]
    if len(given_positions) < 3:
        given_positions += [named.pop("c", None)]
    return [*given_positions, tuple(args[3:]), named.pop("d", 1.0), named]


small = st.one_of(st.sampled_from([1, 1.0, True, 2, None, "a", ("a",), ["a"]]), st.integers(0, 3))
calls = st.tuples(
    st.lists(small, min_size=1, max_size=5).map(tuple),
    st.dictionaries(st.sampled_from(["c", "d", "e", "a", "namespace"]), small, max_size=3),
).filter(lambda call: not (len(call[0]) > 2 and "c" in call[1]))


@SETTINGS
@given(calls, calls)
def test_two_calls_share_a_key_exactly_when_the_function_sees_the_same(one: Any, other: Any) -> None:
    made = keys.FunctionKeys(function, kind="features", name="x")
    assert (made.key(*one, **HERE) == made.key(*other, **HERE)) == same(as_seen(*one), as_seen(*other))
    bound = made.bind(*one)
    seen = [bound["a"], bound["b"], bound["c"], bound["rest"], bound["d"], bound["more"]]
    assert same(seen, as_seen(*one))


def test_a_hundred_thousand_nearly_equal_calls_have_as_many_keys() -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices(string.ascii_letters[:3] + ",:'_|", k=chance.randrange(4))) for _ in range(300)]
    made = keys.FunctionKeys(function, kind="features", name="x")
    found: dict[str, str] = {}
    seen: set[str] = set()
    for number in range(100_000):
        numbers = (number % 7, float(number % 5), number % 2 == 0)
        args = (
            chance.choice(texts),
            chance.choice(texts),
            chance.choice(numbers),
            *chance.choices(texts, k=number % 3),
        )
        plain = repr(args)
        seen.add(plain)
        assert found.setdefault(made.key(args, {}, **HERE), plain) == plain
    assert len(found) == len(seen)
