"""docs/naming.md and docs/ingestion.md against the code."""

import ast
import re
from pathlib import Path

import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.catalog.raw import SOURCE_TYPES
from retention_pipelines.sources.cf import QUANTITIES
from retention_pipelines.sources.mapping import Mapping, Mappings
from retention_pipelines.sources.quality import FLAGS, REASONS

SOURCES = Path(__file__).resolve().parents[3] / "retention_pipelines" / "sources"
#: Names of variables, dimensions and columns in files, written like flags.
NAMES_IN_FILES = {
    "COMMON_NAME", "CYCLE_NUMBER", "DATA_MODE", "JULD_QC", "N_LEVELS", "N_PROF", "PARAMETER_DATA_MODE",
    "PLATFORM_NUMBER", "POSITION_QC", "STATION_PARAMETERS",
}  # fmt: skip
DOCS = Path(__file__).resolve().parents[3] / "docs"
NAMING = (DOCS / "naming.md").read_text(encoding="utf-8")


def section(title: str) -> set[str]:
    text = NAMING.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE))


def test_reasons_and_flags_in_the_contract_are_those_of_the_code():
    assert section("Reasons for quarantine") == set(REASONS)
    assert section("Flags on accepted rows") == set(FLAGS)


def flags_written() -> set[str]:
    """Every text in the code of the readers that is written like a flag: in Python and in SQL."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        if path.name != "quality.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for path in SOURCES.rglob("*.sql"):
        found |= set(re.findall(r"'([A-Z_]+)'", path.read_text(encoding="utf-8")))
    remarks = {one.variable.rsplit("_", 1)[0].upper() for one in QUANTITIES if one.stands_for}
    packaged = {flag for mapping in Mappings.packaged().known for flag in mapping.flags}
    return {text for text in found if re.fullmatch("[A-Z]+(_[A-Z]+)+", text)} - NAMES_IN_FILES | remarks | packaged


def test_every_flag_a_reader_writes_has_its_sentence_and_every_sentence_its_flag():
    assert flags_written() == set(FLAGS)


def test_variables_in_the_contract_are_those_of_the_code():
    assert section("Variables") == {quantity.variable for quantity in QUANTITIES}


@pytest.mark.parametrize("name", ["occurrences", "observations", "quarantine", "ingested_files"])
def test_every_column_of_a_raw_dataset_is_in_the_contract(name):
    text = NAMING.split(f"### {name}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    assert re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE) == list(DATASETS[name].column_names)


def test_every_source_type_is_in_the_contract():
    for name in SOURCE_TYPES:
        assert f"`{name}`" in NAMING.split("## Source types", 1)[1].split("\n## ", 1)[0]


def test_every_packaged_mapping_and_every_key_is_described():
    text = (DOCS / "ingestion.md").read_text(encoding="utf-8")
    for mapping in Mappings.packaged().known:
        assert f"| `{mapping.name}` |" in text
        assert set(mapping.flags) <= set(FLAGS)
    for key in Mapping.model_fields:
        assert f"`{key}" in text, key
