import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.features.compute import compute_features

PAGE = Path(__file__).resolve().parents[3] / "docs" / "features.md"


@pytest.mark.parametrize("feature_type", FEATURE_COLUMNS)
def test_every_feature_is_documented(feature_type):
    text = PAGE.read_text(encoding="utf-8")
    assert [c.name for c in FEATURE_COLUMNS[feature_type] if f"`{c.name}`" not in text] == []


def test_no_two_types_have_a_feature_of_the_same_name():
    names = [column.name for columns in FEATURE_COLUMNS.values() for column in columns]
    assert len(names) == len(set(names))


def test_the_examples_run(lake, add_occurrences):
    add_occurrences({"abundance": 3.0}, {"abundance": 1.0, "scientific_name": "Engraulis capensis"})
    compute_features(lake, months=None, now=datetime(2026, 1, 1, tzinfo=UTC))
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {"lake": lake})
