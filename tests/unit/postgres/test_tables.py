"""What is declared: names, documentation, and rules that hold for every table."""

from pathlib import Path

import pytest
from sqlalchemy import DateTime, Double, String, Text

from retention_pipelines.catalog.series import AGGREGATED_TIME_SERIES as SERIES
from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import METADATA

PAGE = Path(__file__).resolve().parents[3] / "docs" / "database.md"


@pytest.mark.parametrize("name", sorted(METADATA.tables))
def test_every_table_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_no_column_cuts_a_text_or_loses_a_time_zone_or_rounds_a_number() -> None:
    for table in METADATA.tables.values():
        for column in table.columns:
            if isinstance(column.type, DateTime):
                assert column.type.timezone, column
            if isinstance(column.type, String):
                assert isinstance(column.type, Text), column
                assert column.type.length is None, column
            assert "FLOAT" not in str(column.type) or isinstance(column.type, Double), column


def test_every_constraint_has_a_name_of_its_own_within_what_postgres_keeps() -> None:
    names = [str(one.name) for table in METADATA.tables.values() for one in (*table.constraints, *table.indexes)]
    assert len(names) == len(set(names))
    assert [name for name in names if len(name) > 63 or name == "None"] == []


def test_the_serving_copy_has_the_columns_of_the_lake() -> None:
    served = set(METADATA.tables["aggregated_time_series"].columns.keys())
    assert served == set(SERIES.column_names) - {"year"} | {"refreshed_at"}


def test_tables_with_day_partitions_are_those_that_are_partitioned() -> None:
    partitioned = {
        table.name: str(table.dialect_options["postgresql"]["partition_by"])
        for table in METADATA.tables.values()
        if table.dialect_options["postgresql"]["partition_by"]
    }
    assert partitioned == {name: f"RANGE ({column})" for name, column in DAY_COLUMNS.items()}
