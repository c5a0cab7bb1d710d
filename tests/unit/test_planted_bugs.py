"""The planted bugs still fit the package, and their tests are there; `--long` plants every one of them."""

from pathlib import Path

import pytest

from tests.planted_bugs import ROOT, copy_to, fits, is_caught, planted_bugs

BUGS = planted_bugs()


def test_there_are_at_least_25_of_them_each_with_a_sentence_and_a_test() -> None:
    assert len(BUGS) >= 25
    for bug in BUGS:
        assert bug.breaks.endswith("."), bug.name
        path, _, name = bug.caught_by.partition("::")
        assert f"def {name}" in (ROOT / path).read_text(), bug.name


def test_every_planted_bug_still_fits_the_package() -> None:
    """Where one does not, the lines it changes have changed: make the patch anew."""
    assert {bug.name: said for bug in BUGS if (said := fits(bug, ROOT))} == {}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: object, tmp_path: Path) -> None:
    copy_to(tmp_path)
    assert is_caught(bug, tmp_path)  # type: ignore[arg-type]
