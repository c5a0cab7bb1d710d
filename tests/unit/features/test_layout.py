"""Rows packed for Postgres come back exactly, whatever they hold."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.catalog.dataset import ColumnType
from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.features.layout import Layout, layout_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.TEXT: st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    ColumnType.DOUBLE: st.floats(),
    ColumnType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    ColumnType.BIGINT: st.integers(-(2**63), 2**63 - 1),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.INSTANT: st.integers(-(10**16), 10**16).map(lambda us: EPOCH + timedelta(microseconds=us)),
}


def _exactly(value: Any) -> Any:
    """Something that tells -0.0 from 0.0, 1 from True, and NaN equal to itself."""
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


def _microseconds(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    since = value - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@st.composite
def _tables(draw: st.DrawFn) -> tuple[Layout, list[dict[str, Any]], list[int]]:
    layout = layout_of(draw(st.sampled_from(FEATURE_TYPES)))
    row = st.fixed_dictionaries({c.name: st.none() | _VALUES[c.type] for c in layout.columns})
    rows = draw(st.lists(row, min_size=1, max_size=3))
    places = st.integers(0, len(layout.columns) - 1)
    return layout, rows, draw(st.lists(places, min_size=1, max_size=8))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(_tables())
def test_any_value_of_any_column_comes_back_as_it_was(made: tuple[Layout, list[dict[str, Any]], list[int]]) -> None:
    layout, rows, wanted = made
    schema = pa.schema([(column.name, layout.arrow(i)) for i, column in enumerate(layout.columns)])
    (batch,) = pa.Table.from_pylist(rows, schema=schema).combine_chunks().to_batches()
    read = layout.reader(wanted)
    for row, payload in zip(rows, layout.write(batch), strict=True):
        found = read(payload)
        assert found is not None
        expected = [_microseconds(row[layout.columns[i].name]) for i in wanted]
        assert list(map(_exactly, found)) == list(map(_exactly, expected))


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
def test_a_row_of_another_layout_is_recognised(feature_type: str) -> None:
    layout = layout_of(feature_type)
    schema = pa.schema([(column.name, layout.arrow(i)) for i, column in enumerate(layout.columns)])
    (payload,) = layout.write(pa.RecordBatch.from_pylist([{}], schema=schema))
    assert layout.reader([0])(payload) == [None]
    for other in set(FEATURE_TYPES) - {feature_type}:
        assert layout_of(other).reader([0])(payload) is None


def test_feature_types_have_layouts_of_their_own() -> None:
    assert len({layout_of(kind).tag for kind in FEATURE_TYPES}) == len(FEATURE_TYPES)
