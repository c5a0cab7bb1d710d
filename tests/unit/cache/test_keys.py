"""Keys of calls: who shares one, who does not, and what is refused."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import pathlib
import subprocess
import sys
import threading
import uuid
import zoneinfo
from typing import Any, NamedTuple

import pydantic
import pytest

from retention_pipelines.cache import keys
from retention_pipelines.cache.keys import encoding
from retention_pipelines.errors import CacheError, Unkeyable

HERE = {"namespace": "n", "tenant": "default"}


def key_of(function: Any, /, *args: Any, **kwargs: Any) -> str:
    return keys.FunctionKeys(function, kind="features", name="x").key(args, kwargs, **HERE)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Other(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass
class Point:
    x: float
    y: float


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: float
    y: float


class Model(pydantic.BaseModel):
    x: float = 1.0
    y: float = 2.0


class Pair(NamedTuple):
    x: float
    y: float


class Text(str):
    __slots__ = ()


NOON = dt.datetime.fromisoformat("2024-05-01T12:00:00")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

DIFFERENT: list[Any] = [
    None,
    0,
    1,
    1.0,
    True,
    False,
    "1",
    "None",
    b"1",
    bytearray(b"1"),
    memoryview(b"1"),
    1 + 0j,
    complex(0.0, -0.0),
    complex(0.0, 0.0),
    0.0,
    -0.0,
    float("nan"),
    float("inf"),
    "nan",
    10**30,
    10**5000,
    10**5000 + 1,
    [1],
    (1,),
    {1},
    frozenset({1}),
    [[1]],
    [(1,)],
    [1, 2],
    ["1, 2"],
    ["1", "2"],
    {"a": 1},
    {"a": True},
    {"a": 1.0},
    {1: "a"},
    {"1": "a"},
    {True: "a"},
    {Text("a"): 1},
    Text("a"),
    [("a", 1)],
    collections.OrderedDict(a=1),
    collections.OrderedDict([("a", 1), ("b", 2)]),
    collections.OrderedDict([("b", 2), ("a", 1)]),
    collections.defaultdict(list, a=1),
    collections.defaultdict(dict, a=1),
    collections.Counter("a"),
    collections.deque([1]),
    collections.deque([1], 3),
    range(3),
    range(0, 3, 2),
    slice(1, 2),
    ...,
    NOON,
    NOON.isoformat(),
    NOON.replace(fold=1),
    NOON.replace(tzinfo=dt.UTC),
    NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
    NOON.replace(tzinfo=dt.UTC).astimezone(BERLIN),
    NOON.replace(tzinfo=dt.UTC).astimezone(dt.timezone(dt.timedelta(hours=2))),
    NOON.replace(tzinfo=dt.UTC).astimezone(dt.timezone(dt.timedelta(hours=2), "X")),
    NOON.date(),
    NOON.time(),
    dt.time(12, tzinfo=dt.UTC),
    dt.timedelta(seconds=1),
    decimal.Decimal("1"),
    decimal.Decimal("1.0"),
    uuid.UUID(int=1),
    pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("a"),
    Colour.RED,
    Colour.BLUE,
    Other.RED,
    Size.ONE,
    Point(1.0, 2.0),
    Point(2.0, 1.0),
    Frozen(1.0, 2.0),
    Pair(1.0, 2.0),
    (1.0, 2.0),
    Model(),
    Model(x=1.0),
    Model(x=3.0),
    Point,
    Frozen,
    len,
    Point.__init__,
    functools.partial(max, 1),
    "\udc80",
    "\\udc80",
    "é",
    "e\u0301",
]


@pytest.mark.parametrize("number", range(len(DIFFERENT)))
def test_a_value_has_a_key_of_its_own_alone_and_nested(number: int) -> None:
    mine = keys.encode(DIFFERENT[number])
    assert mine == keys.encode(DIFFERENT[number])
    others = [keys.encode(value) for place, value in enumerate(DIFFERENT) if place != number]
    assert mine not in others
    assert keys.encode([DIFFERENT[number]]) not in [keys.encode([v]) for v in DIFFERENT if v is not DIFFERENT[number]]


def test_not_a_number_counts_as_one_value_whatever_its_bits() -> None:
    assert keys.encode(float("inf") - float("inf")) == keys.encode(float("nan")) == keys.encode(-float("nan"))


def test_the_order_of_a_dict_or_set_does_not_matter() -> None:
    one = {"b": 1, "a": [2], 3: {"x", "y", "z"}}
    other = {3: {"z", "y", "x"}, "a": [2], "b": 1}
    assert keys.encode(one) == keys.encode(other)
    assert keys.encode({"a": 1, "b": 2}) == keys.encode({"b": 2, "a": 1}) != keys.encode({"a": 2, "b": 1})


def features(latitude: float, longitude: float, *, depth: float = 0.0, when: object = None, **more: object) -> None:
    """A function to make keys of."""


def twin(latitude: float, longitude: float, *, depth: float = 0.0, when: object = None, **more: object) -> None:
    """Another one with the same parameters."""


def test_every_positional_argument_is_in_the_key() -> None:
    """S6, R6: two calls that differ in any argument never share a result."""
    found = {key_of(features, 54.1, 7.9), key_of(features, 54.1, 8.0), key_of(features, 54.2, 7.9)}
    found |= {key_of(features, 54.1, 7.9, depth=3.0), key_of(features, 54.1, 7.9, other=3.0)}
    assert len(found) == 5


def test_a_call_has_one_key_however_its_arguments_are_passed() -> None:
    assert (
        key_of(features, 54.1, 7.9)
        == key_of(features, 54.1, longitude=7.9)
        == key_of(features, longitude=7.9, latitude=54.1)
        == key_of(features, 54.1, 7.9, depth=0.0)
        == key_of(features, 54.1, 7.9, when=None, depth=0.0)
    )
    assert key_of(features, 1, 2, b=1, a=2) == key_of(features, 1, 2, a=2, b=1) != key_of(features, 1, 2, a=1, b=2)


def test_two_functions_of_one_name_and_feature_type_never_share() -> None:
    """S7: the function is in the key."""
    assert key_of(features, 1.0, 2.0) != key_of(twin, 1.0, 2.0)


def join(study: str, station: str = "", *parts: str) -> None:
    """Texts that could be glued together wrongly."""


def test_texts_that_look_alike_when_glued_have_different_keys() -> None:
    """S8: parts are never joined by a separator that could be in them."""
    calls = [("a_b", "c"), ("a", "b_c"), ("a_b_c", ""), ("a", "b", "c"), ("a', 'b", "c"), ("a", "b', 'c"), ("a,b", "c")]
    assert len({key_of(join, *call) for call in calls}) == len(calls)


def test_dates_and_numpy_values_are_keyed_not_refused() -> None:
    """S9: what a function takes, its key takes."""
    import numpy as np

    values = [NOON, NOON.date(), np.float32(1.5), np.datetime64("2024-05-01"), np.arange(3), dt.timedelta(days=1)]
    assert len({key_of(features, 1.0, 2.0, when=value) for value in values}) == len(values)


def named(
    source_table: str, feature_type: str, compute_func: str, function: str, self: str, key: str, args: str
) -> None:
    """Argument names of the machinery itself."""


def test_arguments_may_be_called_like_those_of_the_machinery() -> None:
    """S10: no name is reserved."""
    names = ("source_table", "feature_type", "compute_func", "function", "self", "key", "args")
    assert key_of(named, **dict.fromkeys(names, "a")) != key_of(named, **{**dict.fromkeys(names, "a"), "self": "b"})
    assert key_of(features, 1, 2, namespace="a", tenant="b") != key_of(features, 1, 2, namespace="b", tenant="a")


def test_long_identifiers_are_kept_apart_to_the_last_character() -> None:
    """S13: nothing is cut off."""
    assert key_of(join, "a" * 5000 + "b") != key_of(join, "a" * 5000 + "c")
    assert len(key_of(join, "a" * 5000)) == 40


def prepare(table: str, columns: list[str], options: dict[str, object]) -> None:
    """Preparation of a training set."""


def test_parameters_of_a_training_set_are_in_its_key() -> None:
    """R3: other columns or options are another training set."""
    calls = [
        ("t", ["a", "b"], {"scale": True}),
        ("t", ["a", "b"], {"scale": False}),
        ("t", ["a"], {"scale": True}),
        ("t", ["b", "a"], {"scale": True}),
        ("t", ["a", "b"], {"scale": 1}),
    ]
    assert len({key_of(prepare, *call) for call in calls}) == len(calls)


def test_tenant_namespace_model_version_and_schema_are_in_the_key() -> None:
    made = keys.FunctionKeys(join, kind="predictions", name="m")
    base = {"namespace": "n", "tenant": "t", "schema_version": "1", "model": "m", "model_version": "1"}
    found = {made.key(("a",), {}, **base)}
    for name in base:
        found.add(made.key(("a",), {}, **{**base, name: base[name] + "2"}))
    found.add(made.key(("a",), {}, **{**base, "model": "m1", "model_version": ""}))
    found.add(made.key(("a",), {}, **base, more={"cell": 3}))
    found.add(made.key(("a",), {}, **base, more={"cell": 4}))
    assert len(found) == 9


def test_kind_name_and_code_version_are_in_the_key() -> None:
    made = [
        keys.FunctionKeys(join, kind="features", name="a"),
        keys.FunctionKeys(join, kind="predictions", name="a"),
        keys.FunctionKeys(join, kind="features", name="b"),
        keys.FunctionKeys(join, kind="features", name="a", code_version="1"),
        keys.FunctionKeys(join, kind="features", name="a", code_version="2"),
    ]
    assert len({each.key(("a",), {}, **HERE) for each in made}) == len(made)


def test_code_version_changes_with_code_constants_and_defaults_only() -> None:
    def version(text: str) -> str:
        space: dict[str, Any] = {}
        exec(text, space)
        return keys.code_version(space["f"])

    first = version("def f(x, y=1):\n    return x + 1\n")
    assert first == version("# a comment\n\n\ndef f(x, y=1):\n    return x + 1\n")
    assert first != version("def f(x, y=1):\n    return x + 2\n")
    assert first != version("def f(x, y=2):\n    return x + 1\n")
    assert first != version("def f(x, y=1):\n    return x - 1\n")
    nested = "def f(x):\n    def g():\n        return {}\n    return g()\n"
    assert version(nested.format(1)) != version(nested.format(2)) != version(nested.format(1.0))


def test_only_named_arguments_matter_when_so_said() -> None:
    made = keys.FunctionKeys(features, kind="features", name="x", include=["latitude", "tag"])
    assert made.key((1.0, 2.0), {}, **HERE) == made.key((1.0, 3.0), {"depth": 4.0, "when": object()}, **HERE)
    assert made.key((1.0, 2.0), {}, **HERE) != made.key((1.0, 2.0), {"tag": 1}, **HERE)
    ignoring = keys.FunctionKeys(features, kind="features", name="x", ignore=["when", "verbose"])
    assert ignoring.key((1, 2), {"when": 1, "verbose": True}, **HERE) == ignoring.key((1, 2), {"when": 2}, **HERE)
    assert ignoring.key((1, 2), {}, **HERE) != ignoring.key((1, 2), {"depth": 1.0}, **HERE)


def test_a_key_function_is_called_like_the_function_with_defaults() -> None:
    made = keys.FunctionKeys(
        features, kind="features", name="x", include=lambda latitude, longitude, depth, **_: (round(latitude), depth)
    )
    assert made.key((1.2, 2.0), {}, **HERE) == made.key((1.3, 5.0), {"depth": 0.0}, **HERE)
    with pytest.raises(Unkeyable, match="features"):
        made.key(("text", 2.0), {}, **HERE)


def test_wrong_argument_names_are_refused_when_the_function_is_decorated() -> None:
    with pytest.raises(CacheError, match="lattitude"):
        keys.FunctionKeys(join, kind="features", name="x", include=["lattitude"])
    with pytest.raises(CacheError, match="list"):
        keys.FunctionKeys(join, kind="features", name="x", ignore="study")


def test_bound_arguments_have_their_defaults() -> None:
    made = keys.FunctionKeys(features, kind="features", name="x")
    bound = made.bind((1.0,), {"longitude": 2.0, "extra": 3})
    assert bound == {"latitude": 1.0, "longitude": 2.0, "depth": 0.0, "when": None, "more": {"extra": 3}}


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1, 2), {"latitude": 3})])
def test_a_call_that_does_not_fit_is_unkeyable_so_that_the_function_says_so(args: Any, kwargs: Any) -> None:
    made = keys.FunctionKeys(features, kind="features", name="x")
    with pytest.raises(Unkeyable, match="does not fit"):
        made.key(args, kwargs, **HERE)


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append([value, value])
    return value


def _doubling() -> list[Any]:
    value: list[Any] = []
    for _ in range(90):
        value = [value, value]
    return value


class Opaque:
    """Nobody knows what it depends on."""


class Failing:
    def __cache_key__(self) -> object:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [object(), Opaque(), Failing(), _endless(), _doubling(), iter([]), threading.Lock(), sys, {"a": [object()]}],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_key_is_refused_by_the_name_of_its_argument(value: object) -> None:
    with pytest.raises(Unkeyable, match="'when'") as caught:
        key_of(features, 1, 2, when=value)
    assert caught.value.hint


class Scaled:
    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.calls = 0
        self.seen: list[float] = []
        self.kinds = collections.Counter[str]()

    def scale(self, value: float) -> float:
        self.calls += 1
        self.seen.append(value)
        self.kinds["scale"] += 1
        return value * self.factor

    @classmethod
    def name(cls, value: float) -> str:
        return f"{cls.__name__}{value}"


class Twice(Scaled):
    pass


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def scale(self, value: float) -> float:
        return value * self.factor


def test_a_method_is_keyed_by_what_its_object_knows() -> None:
    assert key_of(Scaled.scale, Scaled(2.0), 1.0) == key_of(Scaled.scale, Scaled(2.0), 1.0)
    assert key_of(Scaled.scale, Scaled(2.0), 1.0) != key_of(Scaled.scale, Scaled(3.0), 1.0)
    assert key_of(Scaled.scale, Scaled(2.0), 1.0) != key_of(Scaled.scale, Twice(2.0), 1.0)
    assert key_of(Slotted.scale, Slotted(2.0), 1.0) != key_of(Slotted.scale, Slotted(3.0), 1.0)
    assert key_of(Scaled(2.0).scale, 1.0) != key_of(Scaled(3.0).scale, 1.0)
    changing = Scaled(2.0)
    bound = keys.FunctionKeys(changing.scale, kind="features", name="x")
    before = bound.key((1.0,), {}, **HERE)
    changing.factor = 5.0
    assert bound.key((1.0,), {}, **HERE) != before


def test_a_method_that_counts_its_calls_still_hits() -> None:
    made = keys.FunctionKeys(Scaled.scale, kind="features", name="x")
    scaled = Scaled(2.0)
    before = made.key((scaled, 1.0), {}, **HERE)
    scaled.scale(1.0)
    assert made.key((scaled, 1.0), {}, **HERE) == before


class Answering:
    """Counts its calls, and answers from the count."""

    def __init__(self) -> None:
        self.calls = 0
        self.log: list[float] = []

    def counted(self, value: float) -> float:
        self.calls += 1
        return value * self.calls

    def logged(self, value: float) -> int:
        self.log.append(value)
        return len(self.log)

    def handed_on(self, value: float) -> float:
        self.calls += 1
        return self.inner(value)

    def inner(self, value: float) -> float:
        return value * self.calls

    def handed_over(self, value: float) -> float:
        self.calls += 1
        return times_calls(value, self)

    def known_by_another_name(self, value: float) -> float:
        self.calls += 1
        factor, other = value, self
        return factor * other.calls

    def seen_from_inside(self, value: float) -> list[float]:
        self.calls += 1
        return [value * self.calls for _ in range(2)]


def times_calls(value: float, answering: Answering) -> float:
    return value * answering.calls


@pytest.mark.parametrize(
    "name", ["counted", "logged", "handed_on", "handed_over", "known_by_another_name", "seen_from_inside"]
)
def test_a_count_that_may_decide_the_answer_is_in_the_key(name: str) -> None:
    """Python 3.12 and 3.13 write some of these in other steps than 3.11, and the count was left out."""
    made = keys.FunctionKeys(getattr(Answering, name), kind="features", name="x")
    answering = Answering()
    before = made.key((answering, 1.0), {}, **HERE)
    getattr(answering, name)(1.0)
    assert made.key((answering, 1.0), {}, **HERE) != before


def test_a_method_of_an_object_that_knows_a_lock_is_unkeyable() -> None:
    scaled = Scaled(2.0)
    scaled.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(Unkeyable, match="'self'"):
        key_of(Scaled.scale, scaled, 1.0)
    made = keys.FunctionKeys(Scaled.scale, kind="features", name="x", include=["value"])
    assert made.key((scaled, 1.0), {}, **HERE)


class Caller:
    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.calls = 0

    def __call__(self, value: float) -> float:
        self.calls += 1
        return value * self.factor


def test_callable_objects_partials_and_bound_methods_are_keyed_by_what_they_bring() -> None:
    assert key_of(Caller(2.0), 1.0) == key_of(Caller(2.0), 1.0) != key_of(Caller(3.0), 1.0)
    assert key_of(functools.partial(join, "a"), "b") != key_of(functools.partial(join, "c"), "b")
    for counting in (Caller(2.0), Scaled(2.0).scale):
        made = keys.FunctionKeys(counting, kind="features", name="x")
        before = made.key((1.0,), {}, **HERE)
        counting(1.0)  # type: ignore[operator]
        assert made.key((1.0,), {}, **HERE) == before


def test_functions_in_c_without_a_signature_have_keys() -> None:
    assert key_of(max, 1, 2) != key_of(max, 2, 1) != key_of(min, 2, 1)


class Behaviour(enum.Enum):
    FIRST = threading.Lock()
    SECOND = threading.Event()


def test_members_of_an_enum_are_told_apart_by_name_when_their_values_have_no_key() -> None:
    assert keys.encode(Behaviour.FIRST) == keys.encode(Behaviour.FIRST) != keys.encode(Behaviour.SECOND)


def test_geometries_are_keyed_by_their_coordinates() -> None:
    import shapely

    one, other = shapely.Point(7.9, 54.2), shapely.Point(7.9, 54.3)
    assert keys.encode(one) == keys.encode(shapely.from_wkt(one.wkt)) != keys.encode(other)
    assert keys.encode(one) != keys.encode(shapely.set_srid(one, 4326))


def test_a_class_method_is_keyed_by_its_class() -> None:
    function = Scaled.name.__func__  # type: ignore[attr-defined]
    assert key_of(function, Scaled, 1.0) != key_of(function, Twice, 1.0)


class Sealed:
    def __init__(self, number: int) -> None:
        self.lock = threading.Lock()
        self.number = number

    def __cache_key__(self) -> object:
        return self.number


def test_an_object_may_say_itself_what_it_depends_on() -> None:
    assert keys.encode(Sealed(1)) == keys.encode(Sealed(1)) != keys.encode(Sealed(2))


def test_a_closure_is_told_apart_by_what_it_closed_over() -> None:
    def make(factor: object) -> Any:
        return lambda value: (value, factor)

    assert key_of(make(2), 1) == key_of(make(2), 1) != key_of(make(3), 1)
    assert key_of(make(object()), 1) != key_of(make(object()), 1)
    lone = make(object())
    assert key_of(lone, 1) == key_of(lone, 1)


def test_a_closure_that_counts_its_calls_still_hits() -> None:
    calls: list[int] = []
    lock = threading.Lock()

    def counting(value: int) -> int:
        with lock:
            calls.append(value)
        return value

    made = keys.FunctionKeys(counting, kind="features", name="x")
    before = made.key((1,), {}, **HERE)
    counting(1)
    assert made.key((1,), {}, **HERE) == before


def test_classes_made_by_one_function_are_told_apart_by_their_code() -> None:
    def make(factor: int) -> Any:
        class Local:
            def scale(self, value: int) -> int:
                return value * factor

        return Local

    one, other = make(1), make(2)
    assert key_of(one.scale, one(), 1) != key_of(one.scale, other(), 1)


def test_a_key_is_the_same_in_another_process_with_other_hashes() -> None:
    program = (
        "from retention_pipelines.cache import keys\n"
        "value = {'b': {3, 'x', None, (1, 2)}, 'a': [1.5, {'k': frozenset({'p', 'q'})}]}\n"
        "print(keys.FunctionKeys(sorted, kind='features', name='x').key((value,), {}, namespace='n', tenant='t'))"
    )
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_keys_load_no_library_the_arguments_do_not_come_from() -> None:
    program = (
        "import sys\n"
        "from retention_pipelines.cache import codec, copying, keys, memory\n"
        "value = {'a': [1, 2.0, 'x'], 'b': None}\n"
        "keys.encode(value); codec.decode(codec.encode(value)); copying.copier(value)\n"
        "heavy = ('numpy', 'pandas', 'polars', 'pyarrow', 'pydantic', 'psycopg')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60, env={"PATH": ""}
    )
    assert done.stdout.strip() == "[]"


def test_every_type_that_has_a_key_is_in_the_documentation() -> None:
    from retention_pipelines.cache.keys import encoding, objects

    page = pathlib.Path(__file__).resolve().parents[3].joinpath("docs", "caching_keys.md").read_text(encoding="utf-8")
    named = {
        "ellipsis": "...",
        "NotImplementedType": "NotImplemented",
        "builtin_function_or_method": "BuiltinFunctionType",
    }
    names = [kind.__name__ for kind in {*encoding.PLAIN, *objects._STANDARD} - {type(None)}]
    names = [{"function": "FunctionType", "method": "MethodType"}.get(name, named.get(name, name)) for name in names]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_bound_arguments_are_those_python_binds_for_every_shape_of_call() -> None:
    """Checked against `inspect`, which the calls of one shape ask only once."""
    import inspect

    def function(a, /, b, c=3, *rest, d, e=5, **more): ...

    def plain(a, b=2): ...

    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (function, (1, 2), {"d": 4}),
        (function, (1,), {"d": 4, "b": 2, "x": 7, "a": 8}),
        (function, (1, 2, 3, 4, 5), {"d": None, "e": 6, "y": 1, "x": 2}),
        (plain, (1,), {}),
        (plain, (), {"b": 1, "a": 2}),
    ]
    for made, args, kwargs in calls:
        seen: list[tuple[Any, ...]] = []
        bound_by_us = keys.FunctionKeys(
            made, kind="features", name="n", include=lambda *a, seen=seen, **k: seen.append((a, k)) or 1
        )
        wanted = inspect.signature(made).bind(*args, **kwargs)
        wanted.apply_defaults()
        for other in (args, tuple("other" for _ in args), args):
            bound = bound_by_us.bind(other, kwargs)
        assert list(bound.items()) == list(wanted.arguments.items())
        bound_by_us.key(args, kwargs, namespace="n", tenant="t")
        assert seen == [(wanted.args, wanted.kwargs)]
    with pytest.raises(Unkeyable, match="does not fit"):
        keys.FunctionKeys(plain, kind="features", name="n").bind((), {"z": 1})


def test_what_foreign_code_says_when_a_key_fails_is_not_repeated() -> None:
    class Fails:
        def __cache_key__(self) -> str:
            raise ValueError("payload")

    def function(a): ...

    def fails(a):
        raise ValueError("payload")

    for include, value in ((None, Fails()), (None, [Fails()]), (fails, 1)):
        made = keys.FunctionKeys(function, kind="features", name="n", include=include)
        with pytest.raises(Unkeyable) as failed:
            made.key((value,), {}, namespace="n", tenant="t")
        assert "payload" not in str(failed.value)
        assert "ValueError" in str(failed.value)


def test_a_value_that_holds_the_same_part_over_and_over_is_refused_before_it_is_walked() -> None:
    for wide in (2, 3, 10):
        value: list[Any] = [1]
        for _ in range(60):
            value = [value] * wide
        left = [encoding.CONTAINER_LIMIT]
        with pytest.raises(Unkeyable, match="more containers"):
            encoding.text(value, 0, left)
    # A long list of records is none of that.
    keys.encode([{"a": [number]} for number in range(50_000)])
