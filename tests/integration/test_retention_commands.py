"""`retention policies`, `plan` and `explain`, typed as a person would."""

import json

import pytest

from retention_pipelines.cli.app import main
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import rows


@pytest.fixture
def typed(database_settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Typed":
    """Types commands against a lake and database of the test's own."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("RETENTION_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("RETENTION_LAKE_ROOT", database_settings.lake_root)
    monkeypatch.setenv("RETENTION_STATE_DIR", str(database_settings.state_dir))
    with Lake(database_settings) as lake:
        lake.table("feature_store").append(
            rows(
                "feature_store",
                10,
                feature_hash="'h' || i",
                feature_id="'study-' || i",
                quality_score="0.9",
                computed_at="now() - to_days(case when i < 4 then 100 else 1 end)",
            )
        )
    return Typed(capsys)


class Typed:
    """What a command printed, and how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err


def test_policies_are_previewed_edited_and_explained_by_typing(typed: Typed) -> None:
    code, out, _ = typed("policies", "list", "--json")
    assert code == 0
    assert {one["policy_id"] for one in json.loads(out)} >= {"fs_low_quality", "ic_expired", "pm_raw"}

    code, out, _ = typed("plan", "fs_low_quality", "--json")
    (plan,) = json.loads(out)
    assert (plan["rows"], plan["expired_rows"], plan["removed_rows"]) == (10, 4, 4)
    assert plan["policy"] == "fs_low_quality"

    code, out, _ = typed("policies", "set", "fs_low_quality", "--keep-days", "365", "--yes")
    assert "keep_seconds: 7776000 -> 31536000" in out
    assert "This edit deletes 4 fewer rows of feature_store (4 -> 0)" in out
    assert "Saved fs_low_quality v2." in out

    code, out, _ = typed("plan", "fs_low_quality", "--json")
    assert json.loads(out)[0]["removed_rows"] == 0
    code, out, _ = typed("policies", "diff", "fs_low_quality", "1")
    assert out == "keep_seconds: 7776000 -> 31536000\n"
    code, out, _ = typed("policies", "show", "fs_low_quality")
    assert "v2 by" in out
    assert "v1 by defaults" in out

    code, out, _ = typed("explain", "feature_store", "study-1")
    assert "fs_low_quality v2 keeps 365 d" in out
    assert "would change access_count 0 -> 3: fs_medium_quality" in out
    code, out, _ = typed("explain", "feature_store", "h1", "--json")
    assert json.loads(out)[0]["policy"] == "fs_low_quality v2"
    code, out, _ = typed("policies", "lint")
    assert (code, out) == (0, "No errors and no warnings.\n")


MISTAKES = [
    ("plan nothing", "There is no policy 'nothing'."),
    ("explain feature_store nothing", "feature_store has no row 'nothing'."),
    ("explain features h1", "'features' is not governed by policies."),
    ("policies set fs_low_quality", "Nothing to change was given."),
    ("policies set fs_low_quality --match quality>1 --yes", "'quality' is not a field here"),
    ("policies set fs_low_quality --keep-days 0 --yes", "lets every row go at once"),
    ("policies diff fs_low_quality 9", "has no version 9"),
    ("policies list features", "'features' is not governed"),
]


def test_a_mistake_is_a_sentence_with_what_to_do_and_exit_code_2(typed: Typed) -> None:
    for written, said in MISTAKES:
        code, _, err = typed(*written.split())
        assert (code, said in err) == (2, True), err
        assert len(err.splitlines()) >= 2


def test_a_policy_is_not_saved_when_the_answer_is_no(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, _, _ = typed("policies", "set", "fs_low_quality", "--keep-days", "365")
    assert code == 1
    _, out, _ = typed("policies", "show", "fs_low_quality", "--json")
    assert len(json.loads(out)) == 1
