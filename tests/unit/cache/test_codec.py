"""Values as bytes and back: the same type and value, or a refusal."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import importlib.resources
import ipaddress
import math
import pathlib
import sys
import types
import uuid
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import pytz

from retention_pipelines.cache import codec, keys
from retention_pipelines.cache.entry import Payload
from retention_pipelines.errors import CorruptEntry, Unkeyable, Unstorable


class Colour(enum.Enum):
    RED = 1
    BLUE = (2, "b")


class Size(enum.IntEnum):
    ONE = 1


class Mode(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


@dataclasses.dataclass
class Station:
    name: str
    depths: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    value: float
    _unit: str = "m"

    def __post_init__(self) -> None:
        raise AssertionError("decoding runs nothing of the class")

    @classmethod
    def make(cls, value: float) -> "Reading":
        made = object.__new__(cls)
        object.__setattr__(made, "value", value)
        object.__setattr__(made, "_unit", "km")
        return made


class Sample(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    count: int = 0
    _secret: int = pydantic.PrivateAttr(default=3)

    @pydantic.model_validator(mode="after")
    def never_twice(self) -> "Sample":
        validated.append(self.name)
        return self


validated: list[str] = []


class Position(NamedTuple):
    latitude: float
    longitude: float = 0.0


Old = collections.namedtuple("Old", "a b")  # noqa: PYI024 - results may be of either kind
NOON = dt.datetime.fromisoformat("2024-10-27T02:30:00")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ALL_KINDS = pd.DataFrame(
    {
        "i": [1, 2, 3, 4],
        "f": [1.0, None, 3.0, -0.0],
        "s": ["a", None, "c", "d"],
        "o": pd.Series([1, "a", None, (1,)], dtype=object),
        "c": pd.Categorical(["u", "v", None, "u"], ordered=True),
        "t": pd.date_range("2020", periods=4, tz="Europe/Berlin"),
        "n": pd.date_range("2020", periods=4).as_unit("s"),
        "td": pd.to_timedelta([1, 2, 3, 4], "s"),
        "I": pd.array([1, None, 2, 3], dtype="Int32"),
        "B": pd.array([True, None, False, True], dtype="boolean"),
        "F": pd.array([1.0, None, 2, 3], dtype="Float64"),
        "p": pd.period_range("2020", periods=4, freq="M"),
        "st": pd.array(["a", None, "b", "c"], dtype="string"),
        "ar": pd.array([1, 2, 3, None], dtype="int64[pyarrow]"),
        "iv": pd.interval_range(0, 4),
        "bo": [True, False, True, True],
        1: np.arange(4, dtype="f4"),
    },
    index=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None]),
)
ALL_KINDS.attrs = {"unit": ["m"]}

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, 2**64, -(2**63) - 1, 10**5000, 1.0, -0.0, math.inf, math.nan, 5e-324),
    *("", "é", "\udc80", "\x00", "null", b"", b"\xff", bytearray(b"ab"), 1 + 2j, complex(-0.0, math.nan)),
    *([], [1, [2, {"a": (1, 2)}]], (), (1,), {}, {"a": None}, {1: 2}, {(1, 2): {3}}, {None: 1, True: 2, "x": 3}),
    *({"b": 1, "a": 2}, set(), {1, "a", None}, frozenset({1.5}), range(3), range(10, 0, -3), slice(1, None), ...),
    *({"a": math.nan}, {"a": math.inf}, [None, 1.5], {"x": None, "y": "null"}),
    *(NOON, NOON.replace(fold=1, tzinfo=BERLIN), NOON.replace(tzinfo=dt.UTC), NOON.date(), NOON.time()),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=30), "here")),
    pytz.timezone("Europe/Berlin").localize(NOON, is_dst=True),
    pytz.utc.localize(NOON),
    *(BERLIN, dt.UTC, dt.timedelta(days=-1, microseconds=3), dt.time(12, tzinfo=dt.UTC, fold=1)),
    *(decimal.Decimal("1.10"), decimal.Decimal("-0"), decimal.Decimal("NaN"), decimal.Decimal("1E+30")),
    *(fractions.Fraction(1, 3), uuid.UUID(int=5), pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c:/d")),
    *(pathlib.Path("x"), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")),
    *(Colour.RED, Colour.BLUE, Size.ONE, Mode.READ, Mode.READ | Mode.RUN, Mode(0)),
    *(Station("a", [1.0]), Reading.make(2.0), Position(1.0), Old(1, [2]), [Station("a"), Station("b")]),
    *(Sample(name="a"), Sample(name="a", count=0), Sample(name="b", other=[1])),
    *(collections.OrderedDict(b=1, a=2), collections.Counter("aab"), collections.deque([1], 3)),
    *(collections.defaultdict(list, a=[1]), collections.defaultdict(None, a=1), types.SimpleNamespace(a=1)),
    *(np.float64(1.5), np.float32(1.5), np.int8(3), np.bool_(True), np.str_("ab"), np.bytes_(b"a\x00b"), np.float16(1)),
    *(
        np.datetime64("2024-01-01"),
        np.datetime64("NaT", "ns"),
        np.timedelta64(3, "s"),
        np.complex64(1j),
        np.void(b"ab"),
    ),
    *(np.longdouble("1.1"), np.arange(3), np.ones((2, 3), "f4"), np.asfortranarray(np.ones((2, 3))), np.array(3)),
    *(np.zeros((0, 3)), np.array(["a", "bc"]), np.array([b"a"]), np.arange(3).astype(">i2"), np.arange(10)[::3]),
    *(np.array(["2024", "NaT"], "M8[us]"), np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]), np.dtype(">f4")),
    np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i1", "i8"], "offsets": [0, 8], "itemsize": 24})),
    np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
    *(np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1.0, 2.0], fill_value=-9.0)),
    *(ALL_KINDS, ALL_KINDS.iloc[:0], ALL_KINDS[[]], pd.DataFrame(), ALL_KINDS.reset_index(), ALL_KINDS.set_index("t")),
    *(ALL_KINDS.iloc[::2], ALL_KINDS["f"], ALL_KINDS["c"], pd.DataFrame(np.ones((3, 2)), columns=["a", "a"])),
    *(pd.Series([1, 2], name=("a", 1)), pd.Series([], dtype="f4"), pd.Series([pd.Timestamp("2020"), 1])),
    *(pd.Index(["a"]), pd.Index(["a"], dtype=object), pd.Index([1.5], name="n"), pd.RangeIndex(2, 10, 3, name="q")),
    *(pd.date_range("2020", periods=3, freq="MS"), pd.CategoricalIndex(["a"]), pd.array([1, None], dtype="Int8")),
    *(pd.Timestamp("2020-03-01 12:00:00.123456789", tz="UTC"), pd.Timestamp("2020"), pd.NaT, pd.NA),
    *(
        pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timedelta("1.5s"),
        pd.Period("2020-01", "M"),
    ),
    *(pd.Interval(0, 1, closed="left"), {"frame": pd.DataFrame({"a": [1, 2]}), "n": 3}),
    pl.DataFrame(
        {"a": [1, None], "b": ["x", None], "c": [[1], [2, 3]], "d": [{"x": 1}, {"x": None}], "e": [math.nan, 0]}
    ),
    pl.DataFrame({"d": [NOON.date()], "t": [NOON], "du": [dt.timedelta(1)], "dec": [decimal.Decimal("1.10")]}),
    pl.DataFrame({"a": ["x", "y"]}, schema={"a": pl.Enum(["x", "y"])}),
    pl.DataFrame({"a": ["x", "y"]}, schema={"a": pl.Categorical}),
    *(pl.DataFrame(schema={"a": pl.Int8}), pl.DataFrame(), pl.Series("a", [[1, 2]], dtype=pl.Array(pl.Int8, 2))),
    *(pl.Series([1, 2]), pl.DataFrame({"n": [None]}), pl.DataFrame({"t": [NOON.replace(tzinfo=dt.UTC)]})),
    pa.table({"a": [1, None]}, schema=pa.schema([pa.field("a", pa.int8(), metadata={"u": "m"})], metadata={"k": "v"})),
    *(pa.table({}), pa.table({"x": pa.array(range(100))}).slice(5, 3), pa.record_batch({"a": [1]})),
    *(pa.array(["a", None]), pa.array(["a", None]).dictionary_encode(), pa.array([{"a": 1}]), pa.array([[1, 2], None])),
    *(pa.chunked_array([[1], [2]]), pa.scalar("x"), pa.scalar(None, pa.int8()), pa.schema([("a", pa.int8())])),
    *(pa.timestamp("us", "UTC"), pa.array([], pa.int8()), pa.record_batch({"a": pa.array([], pa.int8())})),
]


def same(one: Any, other: Any) -> bool:
    """Type and value, by the keys (tested against an oracle of their own), or element by element."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype == object:
        return one.shape == other.shape and all(same(a, b) for a, b in zip(one.flat, other.flat, strict=True))
    if isinstance(one, dict):
        return all(same(a, b) for a, b in zip([*one, *one.values()], [*other, *other.values()], strict=True))
    return keys.encode(one) == keys.encode(other)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    """R7, S11, S12: no kind of result changes on the way through a store."""
    payload = codec.encode(value)
    assert same(codec.decode(payload), value)
    assert codec.encode(codec.decode(payload)) == payload
    nested = {"a": [value, {"b": (value, 1)}]}
    assert same(codec.decode(codec.encode(nested))["a"][1]["b"][0], value)


def test_integer_keys_tuples_and_numpy_numbers_stay_what_they_are() -> None:
    """R7: what the second caller gets from a store is what the first one got from the function."""
    value = {1: (2, [3]), 2.0: np.float32(1.5), (1, 2): {"a": np.int64(3)}}
    back = codec.decode(codec.encode(value))
    assert back == value
    assert [type(key) for key in back] == [int, float, tuple]
    assert type(back[1]) is tuple
    assert type(back[2.0]) is np.float32


def test_results_with_numpy_scalars_are_stored() -> None:
    """S11: no result is dropped because JSON does not know it."""
    back = codec.decode(codec.encode({"score": np.float32(0.5), "n": np.int64(3)}))
    assert (back["score"].dtype, back["n"].dtype) == (np.dtype("f4"), np.dtype("i8"))


def test_results_with_not_a_number_are_stored() -> None:
    """S12: land and cloud are values too."""
    back = codec.decode(codec.encode({"sst": math.nan, "chl": -math.inf, "n": None}))
    assert math.isnan(back["sst"])
    assert (back["chl"], back["n"]) == (-math.inf, None)


def test_empty_results_are_stored() -> None:
    """R8: nothing found is an answer."""
    for empty in ({}, [], (), "", b"", None, 0, set(), pd.DataFrame(), np.zeros(0)):
        assert type(codec.decode(codec.encode(empty))) is type(empty)


def test_the_order_of_a_dict_is_kept() -> None:
    assert list(codec.decode(codec.encode({"b": 1, "a": 2, "c": 3}))) == ["b", "a", "c"]
    assert list(codec.decode(codec.encode({"b": 1, "a": (2,), 3: 3}))) == ["b", "a", 3]


def test_what_is_shared_within_a_value_stays_shared() -> None:
    inner: list[Any] = [1]
    array = np.ones(3)
    for value in ({"a": inner, "b": inner}, [inner, (inner, inner)], {"x": {"y": array}, "z": array}):
        back = codec.decode(codec.encode(value))
        parts = list(back.values()) if isinstance(back, dict) else [back[0], back[1][0]]
        one = parts[0]["y"] if isinstance(parts[0], dict) else parts[0]
        assert one is parts[1]


def test_arrays_come_back_writable_or_not_as_they_were_and_on_their_own() -> None:
    array = np.ones(3)
    back = codec.decode(codec.encode(array))
    back[0] = 5
    assert array[0] == 1
    array.flags.writeable = False
    assert not codec.decode(codec.encode(array)).flags.writeable
    assert codec.decode(codec.encode(np.asfortranarray(np.ones((2, 3))))).flags.f_contiguous


def test_models_come_back_without_validating_anything() -> None:
    sample = Sample(name="a", other=1)
    sample._secret = 9
    payload = codec.encode(sample)
    validated.clear()
    back = codec.decode(payload)
    assert validated == []
    assert back == sample
    assert back._secret == 9
    assert back.model_fields_set == {"name", "other"}


class Mapping(dict):  # type: ignore[type-arg]
    """Not a dict."""


class Plain:
    def __init__(self) -> None:
        self.a = 1


def _local() -> object:
    @dataclasses.dataclass
    class Local:
        a: int

    return Local(1)


def _endless() -> object:
    value: list[Any] = []
    value.append({"a": value})
    return value


def _nameless_zone() -> object:
    with importlib.resources.files("tzdata.zoneinfo").joinpath("UTC").open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file)


def _deep() -> object:
    value: Any = 1
    for _ in range(500):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        Mapping(a=1),
        Plain(),
        _local(),
        _endless(),
        _deep(),
        object(),
        len,
        lambda: 1,
        iter([]),
        ValueError("a"),
        memoryview(b"a"),
        _nameless_zone(),
        collections.defaultdict(Plain),
        np.array([object()]),
        np.zeros(1, np.dtype("f4", metadata={"a": 1})),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        pl.DataFrame({"a": [object()]}),
        pl.DataFrame({"a": [1]}).lazy(),
        pd.arrays.SparseArray([0, 0, 1]),
        {"a": [1, {"b": Plain()}]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_exactly_is_refused(value: object) -> None:
    with pytest.raises(Unstorable):
        codec.encode(value)


def test_nothing_is_unpickled_and_no_class_is_run_or_imported() -> None:
    """R5: whoever writes a stored row cannot make a reader run anything."""
    payload = codec.encode(Reading.make(1.0))
    assert b"make" not in payload.data
    for module, name in (("os", "system"), ("subprocess", "Popen"), ("antigravity", "x"), ("builtins", "eval")):
        forged = payload.data[4:].replace(Reading.__module__.encode(), b"#" * len(Reading.__module__))
        head = forged.index(b"#")
        body = forged[: head - 1] + bytes([len(module)]) + module.encode() + bytes([len(name)]) + name.encode()
        with pytest.raises(CorruptEntry):
            codec.decode(sealed(body + forged[head + len(Reading.__module__) + 1 + len("Reading") :]))
    assert "antigravity" not in sys.modules


def sealed(body: bytes, name: str = "tree1") -> Payload:
    """A payload whose sum is right, whatever is in it."""
    import zlib

    return Payload(codec=name, data=zlib.crc32(body, zlib.crc32(name.encode())).to_bytes(4, "little") + body)


@dataclasses.dataclass
class Changing:
    a: int
    b: int = 0


def test_a_class_that_changed_since_is_a_miss_and_no_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = codec.encode(Changing(1))

    @dataclasses.dataclass
    class Now:
        a: int

    for replacement in (Now, None, "text", dict):
        monkeypatch.setitem(globals(), "Changing", replacement)
        with pytest.raises(codec.UnknownClass):
            codec.decode(payload)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"?",
        b"l\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"l\x05N",
        b"s\xff\xff\xff\x7fabc",
        b"i\xff\xff\xff\xff\x7f\x01",
        b"R\x00",
        b"l" * 5000,
        b"l\x01" * 5000 + b"N",
        b"NN",
        b"d\x02\x73\x01aNs\x01aN",
        b"d\x01l\x00N",
        b"Aa\x03<f8\x02\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f\x02\x00\x08abcdefgh",
        b"Aa\x02|O\x01\x01\x02\x00\x08abcdefgh",
        b"Aa\x03<f8\x01\x01\x02\x01\x01x",
        b"Aa\x0cV99999999999\x01\x01\x02\x00\x00",
        b"xe\x03abc",
        b"xZ\x0f../../etc/hosts",
        b"xd" + b"\xff" * 13 + b"N",
        b"xr" + b"N" * 3,
        b"pt\x00\x08notarrow",
        b"plf\x00\x08notarrow",
        b"ppfNN\x00\x00NN",
        b"ke\x02os\x06system\x01a",
        b"kt\x08builtins\x05tuplet\x00\x00",
    ],
)
def test_hostile_bytes_with_the_right_sum_are_corrupt_and_cost_little(body: bytes) -> None:
    with pytest.raises(CorruptEntry):
        codec.decode(sealed(body))


def test_other_encodings_damage_and_truncation_are_corrupt() -> None:
    payload = codec.encode({"a": 1.5})
    for other in (
        Payload(codec="pickle", data=payload.data),
        Payload(codec="tree1", data=payload.data),
        Payload(codec=payload.codec, data=payload.data[:-1]),
        Payload(codec=payload.codec, data=payload.data + b" "),
        Payload(codec=payload.codec, data=b""),
    ):
        with pytest.raises(CorruptEntry):
            codec.decode(other)


def test_large_arrays_go_where_the_caller_says_and_come_back() -> None:
    kept: dict[str, Any] = {}

    def spill(array: Any) -> str:
        kept[f"part-{len(kept)}"] = array
        return f"part-{len(kept) - 1}"

    large = np.random.default_rng(1).normal(size=(500, 40))
    values = (
        (large, large, {"y": np.arange(3)}),
        pd.DataFrame(large),
        pd.DataFrame({"a": np.arange(20_000), "b": ["x"] * 20_000}),
        pl.DataFrame({"a": np.arange(20_000)}),
        np.asfortranarray(large),
    )
    for value in values:
        kept.clear()
        payload = codec.encode(value, spill=spill)
        assert kept
        assert len(payload.data) < 70_000
        assert same(codec.decode(payload, fetch=kept.get), value)
        with pytest.raises(CorruptEntry):
            codec.decode(payload)
        with pytest.raises(CorruptEntry):
            codec.decode(payload, fetch=lambda reference: np.zeros(3))


def test_keys_and_codec_agree_on_what_an_array_of_objects_is() -> None:
    with pytest.raises(Unkeyable):
        keys.encode(np.array([1, "a"], object))
    assert codec.decode(codec.encode(np.array([1, "a"], object))).tolist() == [1, "a"]
