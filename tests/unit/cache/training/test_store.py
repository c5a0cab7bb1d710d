"""What is saved is found again as it was, or not at all."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retention_pipelines.cache.training.description import Description
from retention_pipelines.cache.training.store import Preparation, TrainingSets
from retention_pipelines.cache.training.value import TrainingSet
from retention_pipelines.errors import CacheError, ReadOnly, Unstorable
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.cache.training.conftest import KEY, Sets
from tests.unit.warehouse.rows import observations

N = 5_000
X = np.random.default_rng(3).normal(size=(N, 6))
Y = (X[:, 0] > 0).astype(np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class OwnSet:
    X: Any
    y: Any
    note: str


class OwnScaler(StandardScaler):
    """A scaler of a user's own."""


class Split(NamedTuple):
    X: Any
    y: Any


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "depth_m": X[:, 0],
            "n": Y,
            "zone": pd.Categorical(np.where(Y, "reef", "bay")),
            "name": np.where(Y, "Thunnus", "Sardina"),
            "seen": pd.date_range("2024-01-01", periods=N, freq="h", tz="UTC"),
            "maybe": pd.array(np.where(Y, 1, None), dtype="Int64"),
            "ok": X[:, 1] > 0,
            "t": X[:, 2].astype(np.float32),
        },
        index=pd.Index(range(7, 7 + N), name="row"),
    )


VALUES: dict[str, Any] = {
    "pair": (X, Y),
    "list": [X, Y],
    "dict": {"X": X, "y": Y, "names": ("a", "b"), "none": None},
    "named tuple": Split(X, Y),
    "dataclass": OwnSet(X, Y, "as returned"),
    "training set": TrainingSet(X=X, y=Y, feature_names=("a",), provenance={"licence": "CC-BY"}),
    "fortran": np.asfortranarray(X),
    "float32": X.astype(np.float32),
    "big endian": X.astype(">f8"),
    "view": X[::3, 1:4],
    "instants": np.array(["2024-01-01", "NaT"] * N, dtype="M8[s]"),
    "text": np.array(["Thunnus thynnus", "x"] * N),
    "texts as objects": np.array(["Thunnus", None, "Sardina"] * N, dtype=object).reshape(-1, 2),
    "objects": np.array([1, 1.0, True, "x", (2, None)] * 9, dtype=object),
    "empty": np.empty((0, 6)),
    "scalar array": np.array(3.5),
    "masked": np.ma.masked_array(X, mask=X > 0),
    "csr": sp.csr_matrix(X * (X > 1)),
    "csc": sp.csc_array(X * (X > 1)),
    "coo": sp.coo_array(X * (X > 1)),
    "bsr": sp.bsr_matrix(X * (X > 1), blocksize=(2, 3)),
    "dia": sp.dia_array(np.eye(500)),
    "arrow": pa.table(
        {"a": X[:, 0], "s": ["x", None] * (N // 2), "d": pa.array(["u", "v"] * (N // 2)).dictionary_encode()}
    ),
    "chunked arrow": pa.concat_tables([pa.table({"a": X[:9, 0]}), pa.table({"a": X[9:, 0]})]),
    "arrow with metadata": pa.table({"a": X[:, 0]}).replace_schema_metadata({"k": "v"}),
    "record batch": pa.record_batch({"a": X[:, 0]}),
    "polars": pl.DataFrame({"a": X[:, 0], "s": ["x", None] * (N // 2), "l": [[1], []] * (N // 2)}),
    "polars types": pl.DataFrame({"c": ["u", "v"] * N}, schema={"c": pl.Categorical}).with_columns(
        e=pl.col("c").cast(pl.Enum(["u", "v"])), d=pl.lit(1.5).cast(pl.Decimal(10, 2))
    ),
    "polars series": pl.Series("y", Y),
    "pandas": pandas_frame(),
    "pandas of one type": pd.DataFrame(X, columns=list("abcdef")),
    "pandas of two types": pd.DataFrame(X).assign(n=Y),
    "pandas with hours": pd.DataFrame({"v": X[:, 0]}, index=pd.date_range("2024", periods=N, freq="h")),
    "pandas with levels": pd.DataFrame(
        X, columns=pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]], names=["p", None])
    ).set_index(pd.MultiIndex.from_arrays([Y, range(N)], names=["y", "i"])),
    "pandas of objects": pd.DataFrame({"o": pd.Series(["Thunnus", None] * N, dtype=object)}).assign(n=1.5),
    "pandas of objects only": pd.DataFrame({"o": pd.Series(["reef", 1, True] * N, dtype=object), "p": 1}),
    "pandas of text": pd.DataFrame({"s": ["Thunnus", None] * N}),
    "empty pandas": pd.DataFrame({"a": pd.Series(dtype="float64"), "s": pd.Series(dtype="str")}),
    "pandas series": pd.Series(X[:, 0], name="y", index=pd.Index(range(N), dtype="int64")),
    "nested": {"train": [(X, {"y": Y})], "val": OwnSet(X[:10], Y[:10], "")},
    "nothing": None,
    "plain": {"a": 1, "b": [1.5, float("nan")]},
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two values are of the same types and hold the same bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ma.MaskedArray):
        return same(one.filled(-1.0), other.filled(-1.0)) and same(one.mask, other.mask)
    if isinstance(one, np.ndarray) and one.dtype == object:
        return one.shape == other.shape and same(one.ravel().tolist(), other.ravel().tolist())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if sp.issparse(one):
        return one.shape == other.shape and one.dtype == other.dtype and (one != other).nnz == 0
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=True)
        return True
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True)
        return True
    if isinstance(one, pa.Table | pa.RecordBatch):
        return one.schema.equals(other.schema, check_metadata=True) and one.equals(other)
    if isinstance(one, pl.DataFrame):
        return one.schema == other.schema and one.equals(other)
    if isinstance(one, pl.Series):
        return one.name == other.name and one.dtype == other.dtype and one.equals(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    return bool(one == other) or one != one


@pytest.mark.parametrize("name", VALUES)
def test_r7_a_value_comes_back_with_its_type_and_every_bit(sets: Sets, name: str) -> None:
    """R7: memory and database answered different types."""
    saved = sets.put(VALUES[name])
    found = sets.find(KEY)
    assert saved is not None
    assert found is not None
    assert same(found.value, VALUES[name])


@pytest.mark.parametrize("name", ["fortran", "csr", "pandas of one type", "arrow", "polars"])
def test_matrices_are_mapped_from_the_file_and_not_copied(sets: Sets, name: str) -> None:
    sets.put(VALUES[name])
    found = sets.get()
    if isinstance(found, np.ndarray):
        parts = [found]
    elif sp.issparse(found):
        parts = [found.data, found.indices, found.indptr] if found.data.nbytes else []
        parts = [part for part in parts if part.nbytes >= 16 * 1024]
    elif isinstance(found, pd.DataFrame):
        parts = [found.to_numpy()]
    elif isinstance(found, pl.DataFrame):
        parts = [found["a"].to_numpy(allow_copy=False)]
    else:
        parts = [found["a"].chunk(0).to_numpy(zero_copy_only=True)]
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "_training_sets" in line]
    ranges = [tuple(int(part, 16) for part in fields[0].split("-")) for fields in mapped]
    for part in parts:
        address = part.__array_interface__["data"][0]
        assert any(low <= address < high for low, high in ranges)


def test_s14_an_edit_of_what_was_returned_reaches_nobody_else(sets: Sets) -> None:
    """S14: changing a returned object changed the cache."""
    sets.put({"X": X, "frame": VALUES["pandas of one type"], "sparse": VALUES["csr"]})
    found = sets.get()
    found["X"][:] = 0.0
    found["frame"].iloc[0, 0] = -1.0
    found["sparse"].data[:] = 9.0
    assert found["X"].sum() == 0.0
    again = Sets(sets.settings).get()
    assert same(again, {"X": X, "frame": VALUES["pandas of one type"], "sparse": VALUES["csr"]})
    assert sets.verify() == []


def test_the_same_matrix_is_stored_once_for_all_sets(sets: Sets) -> None:
    one = sets.put((X, Y), key="a" * 32)
    other = sets.put({"again": X}, key="b" * 32)
    assert one is not None
    assert other is not None
    assert other.files[0] in one.files
    assert len(os.listdir(sets.folder.root)) == len(set(one.files))


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        (X, lambda: None),
        pd.DataFrame({"o": [object(), 2]}),
        iter([1]),
        np.memmap,
    ],
    ids=["objects", "function", "pandas objects", "iterator", "class"],
)
def test_what_would_not_come_back_exactly_is_refused(sets: Sets, value: object) -> None:
    with pytest.raises(Unstorable):
        sets.put(value)
    assert sets.find(KEY) is None


def test_a_fitted_pipeline_in_a_set_comes_back(sets: Sets) -> None:
    pipeline = make_pipeline(StandardScaler()).fit(X)
    sets.put(TrainingSet(X=pipeline.transform(X), y=Y, pipeline=pipeline))
    found = sets.get()
    assert isinstance(found, TrainingSet)
    np.testing.assert_array_equal(found.pipeline.transform(X), found.X)


def test_a_pipeline_that_another_version_of_the_libraries_stored_is_a_miss_without_an_alert(
    sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets.put(make_pipeline(StandardScaler()).fit(X))
    monkeypatch.setattr(sklearn, "__version__", "0.1")
    assert sets.find(KEY) is None
    assert ("training", "corrupt", "files") not in sets.counters.snapshot()


def test_a_pipeline_of_a_class_that_is_no_longer_trusted_is_a_miss_without_an_alert(sets: Sets) -> None:
    own = f"{OwnScaler.__module__}.OwnScaler"
    sets.put(OwnScaler().fit(X), trusted=(own,))
    assert sets.find(KEY, trusted=(own,)) is not None
    assert sets.find(KEY) is None
    assert ("training", "corrupt", "files") not in sets.counters.snapshot()


def test_r4_a_hit_tells_the_same_as_the_miss(sets: Sets) -> None:
    """R4: a hit returned other metadata than the miss did."""
    described = Description(
        parameters={"days": 3, "seed": 1.5},
        data_versions={"feature_store": 4},
        feature_names=("a", "b"),
        preprocessing=({"name": "scale", "learned": {"mean_": [1.0, None]}},),
        class_distribution={"0": 0.25, "1": 0.75},
        provenance={"licences": ["CC-BY"]},
        n_rows=3,
        n_features=2,
        validation_share=0.2,
    )
    made = Preparation(started_ns=sets.clock_ns(), compute_seconds=1.25, function="f", model_type="m", tags=("t",))
    saved = sets.save(KEY, (X, Y), description=described, preparation=made)
    found = TrainingSets(sets.settings).find(KEY)
    assert saved is not None
    assert found is not None
    assert found.description == saved.description == described
    moving = {"value", "age_seconds", "remaining_seconds"}
    for field in dataclasses.fields(found):
        if field.name not in moving:
            assert getattr(found, field.name) == getattr(saved, field.name), field.name


def test_a_set_expires_to_the_nanosecond(settings: Settings) -> None:
    now = time.time_ns()
    clock = [now]
    sets = Sets(settings, clock_ns=lambda: clock[0])
    sets.put((X, Y), ttl_seconds=60.0)
    clock[0] = now + 60 * 10**9 - 1
    assert sets.find(KEY) is not None
    clock[0] = now + 60 * 10**9
    assert sets.find(KEY) is None
    clock[0] = now - 3600 * 10**9
    assert sets.find(KEY) is None, "a clock that was set back gives no life"


@pytest.mark.parametrize(
    ("scope", "target", "hit"),
    [
        ("key", KEY, True),
        ("key", "f" * 32, False),
        ("function", "app.prepare", True),
        ("function", "app.prepar", False),
        ("model", "habitat", True),
        ("tag", "weekly", True),
        ("tag", "habitat", False),
        ("source", "feature_store", True),
        ("source", "observations", False),
        ("all", None, True),
    ],
)
def test_an_invalidation_reaches_what_it_names_and_nothing_else(
    sets: Sets, scope: Any, target: str | None, hit: bool
) -> None:
    known = {
        "function": "app.prepare",
        "model_type": "habitat",
        "tags": ("weekly",),
        "lake_versions": {"feature_store": -1},
    }
    sets.put((X, Y), **known)
    Sets(sets.settings).invalidate(scope, target)
    assert (sets.find(KEY) is None) is hit
    sets.put((X, Y), **known)
    assert sets.find(KEY) is not None, "what was prepared afterwards counts"


def test_what_was_being_prepared_when_it_was_invalidated_is_not_stored(sets: Sets) -> None:
    started = sets.clock_ns()
    sets.invalidate("tag", "weekly")
    assert sets.put((X, Y), started_ns=started, tags=("weekly",)) is None
    assert sets.find(KEY) is None


def test_a_set_is_not_used_once_a_table_it_was_built_from_changed(settings: Settings, lake: Lake) -> None:
    sets = Sets(settings)
    lake.table("observations").append(observations("abc"))
    sets.put((X, Y), lake_versions=sets.versions.now(["observations", "feature_store"]))
    assert sets.find(KEY) is not None
    lake.table("observations").compact(min_files=1)
    assert Sets(settings).find(KEY) is not None, "compaction changes no row"
    lake.table("observations").append(observations("de"))
    assert Sets(settings).find(KEY) is None


def test_a_set_of_another_tenant_or_key_or_secret_is_none(settings: Settings, tmp_path: Path) -> None:
    sets = Sets(settings)
    sets.put((X, Y))
    place = sets.root / "sets"
    (place / ("e" * 32)).write_bytes((place / KEY).read_bytes())
    assert sets.find("e" * 32) is None
    other = Sets(settings.model_copy(update={"tenant": "other"}))
    assert other.find(KEY) is None
    os.makedirs(other.root / "sets")
    (other.root / "sets" / KEY).write_bytes((place / KEY).read_bytes())
    os.symlink(sets.folder.root, other.folder.root)
    assert other.find(KEY) is None
    stranger = Sets(load_settings({}, lake_root=settings.lake_root, state_dir=tmp_path / "elsewhere"))
    assert stranger.find(KEY) is None
    assert stranger.counters.snapshot()["training", "corrupt", "files"] == 1


@pytest.mark.parametrize("seed", range(30))
def test_r5_a_changed_description_is_a_miss_and_an_alert(
    sets: Sets, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """R5: whoever could write the row ran code."""
    sets.put((X, Y))
    path = sets.root / "sets" / KEY
    content = bytearray(path.read_bytes())
    where = np.random.default_rng(seed).integers(len(content) * 8)
    content[where // 8] ^= 1 << int(where % 8)
    path.write_bytes(content)
    assert sets.find(KEY) is None
    assert sets.counters.snapshot()["training", "corrupt", "files"] == 1
    assert "damaged" in caplog.text
    sets.put((X, Y))
    assert same(sets.get(), (X, Y))


def test_a_description_cut_short_or_a_link_is_a_miss(sets: Sets, tmp_path: Path) -> None:
    sets.put((X, Y))
    path = sets.root / "sets" / KEY
    content = path.read_bytes()
    for size in (0, 7, 8, 39, 40, 41, 48, len(content) - 1):
        path.write_bytes(content[:size])
        assert sets.find(KEY) is None
    path.unlink()
    (tmp_path / "copy").write_bytes(content)
    path.symlink_to(tmp_path / "copy")
    assert sets.find(KEY) is None


@pytest.mark.parametrize("key", ["", "../" + "a" * 32, "A" * 32, "a" * 31, "a" * 32 + "\n", "a" * 129])
def test_a_key_that_is_no_digest_names_no_file(sets: Sets, key: str) -> None:
    with pytest.raises(CacheError):
        sets.find(key)


def test_read_only_reads_and_writes_nothing(sets: Sets) -> None:
    sets.put((X, Y))
    before = sorted(str(path) for path in sets.root.rglob("*"))
    reader = Sets(sets.settings.model_copy(update={"mode": "read_only"}))
    assert same(reader.get(), (X, Y))
    with pytest.raises(ReadOnly):
        reader.put((X, Y))
    with pytest.raises(ReadOnly):
        reader.invalidate("all")
    with pytest.raises(ReadOnly):
        reader.clean()
    assert sorted(str(path) for path in sets.root.rglob("*")) == before


def test_cleaning_keeps_what_may_be_used_and_what_is_young(sets: Sets) -> None:
    sets.put((X, Y), key="a" * 32)
    sets.put({"other": X * 2}, key="b" * 32, tags=("old",))
    sets.invalidate("tag", "old")
    assert sets.clean() == 0, "everything is younger than the safe age"
    assert sets.clean(safe_age_seconds=-1.0) > X.nbytes
    assert same(sets.get("a" * 32), (X, Y))
    assert sets.verify() == []
    assert len(os.listdir(sets.root / "sets")) == 1


def test_cleaning_touches_nothing_else_and_forgets_old_marks(sets: Sets) -> None:
    sets.invalidate("tag", "old")
    sets.put((X, Y), key="a" * 32, tags=("weekly",))
    (sets.root / "sets" / "README").write_text("not ours")
    (sets.root / "sets" / "new-1-dead").write_text("half")
    sets.invalidate("tag", "other")
    sets.clean(safe_age_seconds=-1.0)
    assert sorted(os.listdir(sets.root / "sets")) == ["README", "a" * 32]
    assert len(os.listdir(sets.root / "marks")) == 1, "the one from before every set is forgotten"


def test_a_set_whose_files_were_deleted_is_a_miss_without_alarm(sets: Sets) -> None:
    saved = sets.put((X, Y))
    assert saved is not None
    held = sets.get()
    for name in saved.files:
        (sets.folder.root / name).unlink()
    assert sets.find(KEY) is None
    assert ("training", "corrupt", "files") not in sets.counters.snapshot()
    assert same(held, (X, Y)), "what is mapped stays"


def test_verifying_names_what_is_damaged(sets: Sets) -> None:
    saved = sets.put((X, Y))
    assert saved is not None
    assert sets.verify() == []
    with (sets.folder.root / saved.files[0]).open("r+b") as file:
        file.seek(5000)
        file.write(b"?")
    found = sets.verify()
    assert len(found) == 1
    assert KEY in found[0]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("call", ["fsync", "replace", "open", "fstat"])
def test_a_crash_before_any_step_leaves_a_whole_set_or_none(
    sets: Sets, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    old, new = {"X": X, "y": Y}, {"X": X * 2, "y": Y}
    sets.put(old)
    real = getattr(os, call)
    seen = {"old": 0, "new": 0}
    for step in range(100):
        left = [step]

        def crash(*args: Any, _left: list[int] = left, **kwargs: Any) -> Any:
            _left[0] -= 1
            if _left[0] < 0:
                raise Crash
            return real(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, crash)
            try:
                sets.put(new)
            except Crash:
                done = False
            else:
                done = True
        found = Sets(sets.settings).get()
        seen["new" if same(found, new) else "old"] += 1
        assert same(found, new) or same(found, old)
        assert sets.verify() == []
        sets.put(old)
        if done:
            break
    assert done
    assert seen["old"] > 0
    assert seen["new"] > 0
    sets.clean(safe_age_seconds=-1.0)
    assert not [entry.name for entry in os.scandir(sets.folder.root) if entry.name.startswith("new-")]
