"""The documentation names everything that exists, and links only to what exists."""

import re
from pathlib import Path

import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.cli.app import command_names
from retention_pipelines.cli.reference import reference
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_in_the_naming_contract(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "naming.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("policy", default_policies(), ids=lambda policy: policy.policy_id)
def test_every_default_policy_is_explained_with_its_number(policy: Policy) -> None:
    page = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if f"| `{policy.policy_id}` |" in line]
    assert policy.keep_seconds == 0 or f"{policy.keep_seconds // 86_400:,} d" in line


def test_every_command_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in command_names() if f"## `retention {name}`" not in page] == []
    assert page == reference(), "run `make docs`"


def test_every_decision_is_in_the_index_by_its_title() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    for page in sorted(ROOT.glob("docs/adr/[0-9]*.md")):
        title = page.read_text(encoding="utf-8").split("\n")[0].partition(". ")[2]
        assert f"| [{page.name[:4]}]({page.name}) | {title} |" in index


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default}`".replace(".0`", "`")
        assert f"| `{PREFIX}{name.upper()}` | {default} |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:|data:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
