"""The glossary, the demo's page and the Portuguese guide name what exists, and only that."""

import inspect
import re
from pathlib import Path

import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.cli.app import command_names
from retention_pipelines.cli.demo import demo
from retention_pipelines.demo.language import ENGLISH, PORTUGUESE
from retention_pipelines.demo.simulate import RAW_FILES
from retention_pipelines.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "retention_pipelines"


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_in_the_glossary_and_the_portuguese_guide(name: str) -> None:
    assert f"`{name}`" in page("glossary.md")
    assert f"`{name}`" in page("guia.pt.md")


def test_the_glossary_names_code_that_exists() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py)(?:: (\w+))?`", page("glossary.md"))
    assert named
    for path, name in named:
        assert (PACKAGE / path).is_file(), path
        assert not name or re.search(rf"^(class|def) {name}\b", (PACKAGE / path).read_text(), re.MULTILINE), name


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_in_the_portuguese_guide(field: str) -> None:
    assert f"`{PREFIX}{field.upper()}" in page("guia.pt.md")


@pytest.mark.parametrize("name", ["guia.pt.md", "demo.md"])
def test_pages_name_only_commands_that_exist(name: str) -> None:
    known = set(command_names()) | {command.split(" ")[0] for command in command_names()}
    for said in re.findall(r"^(?:RETENTION_\S+ )*retention ([a-z]+(?: [a-z]+)?)", page(name), re.MULTILINE):
        assert said in known or said.split(" ")[0] in known, said


@pytest.mark.parametrize("words", [ENGLISH, PORTUGUESE], ids=["en", "pt"])
def test_the_report_recommends_only_commands_that_exist(words: object) -> None:
    for command, _ in words.next_lines:  # type: ignore[attr-defined]
        assert command.split(" ")[1] in command_names(), command


def test_the_demo_page_names_every_file_and_option() -> None:
    text = page("demo.md")
    assert all(f"`{name}`" in text for name in RAW_FILES)
    assert all(f"--{option}" in text for option in inspect.signature(demo).parameters)


@pytest.mark.parametrize("name", ["guia.pt.md", "demo.md", "glossary.md"])
def test_links_inside_the_pages_lead_somewhere(name: str) -> None:
    text = page(name)
    for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text):
        assert (ROOT / "docs" / target).exists(), target
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-")
                for line in text.splitlines() if line.startswith("#")}  # fmt: skip
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
