"""`retention policies`, `plan` and `explain`, typed as a person would."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from retention_pipelines.cli.app import main
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.retention.runs.lock import run_lock
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.unit.warehouse.rows import rows


# Where the server comes from does not matter here.
@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    with migrated_database(request) as opened:
        yield opened


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
    assert "planned not run" in " ".join(typed("history")[1].split())
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
    ("policies set fs_low_quality --priority 99999999999 --yes", "priority is 99999999999"),
    ("budgets set feature_store 99999999999TB", "bytes is none"),
    ("budgets set feature_store many", "'many' is no size"),
]


def test_a_mistake_is_a_sentence_with_what_to_do_and_exit_code_2(typed: Typed) -> None:
    for written, said in MISTAKES:
        code, _, err = typed(*written.split())
        assert (code, said in err) == (2, True), err
        assert len(err.splitlines()) >= 2


def test_policies_of_a_file_are_replayed_before_they_are_saved_and_one_that_is_no_text_is_a_mistake(
    typed: Typed, tmp_path: Path
) -> None:
    file = tmp_path / "policies.yaml"
    for content, said in ((b"\xff\xfe", "cannot be read"), (b"[]", "not a map")):
        file.write_bytes(content)
        code, _, err = typed("policies", "load", str(file), "--yes")
        assert (code, said in err) == (2, True), err
    file.write_text(
        "feature_store:\n- {id: mine, priority: 500, match: quality_score > 0.95, keep_days: 30, reason: A trial.}\n"
    )
    code, out, _ = typed("policies", "load", str(file), "--replay-days", "3", "--yes")
    assert code == 0
    assert "This edit deletes" in out
    assert "Replaying 3 days" in out
    assert "Saved mine v1." in out
    # Two priorities exchanged: neither can be saved alone.
    exchanged = [("fs_high_quality", 300, "> 0.8"), ("fs_medium_quality", 400, "> 0.6")]
    file.write_text(
        "feature_store:\n"
        + "".join(
            f"- {{id: {name}, priority: {priority}, match: quality_score {above}, keep_days: 9, reason: A trial.}}\n"
            for name, priority, above in exchanged
        )
    )
    code, _, err = typed("policies", "load", str(file), "--replay-days", "0", "--yes")
    assert (code, "fs_high_quality never governs a row" in err) == (2, True), err
    file.write_text(file.read_text().replace("> 0.8", "< 0.3"))
    code, out, _ = typed("policies", "load", str(file), "--replay-days", "0", "--yes")
    assert (code, out.count("This edit"), out.splitlines()[-2:]) == (
        0,
        1,
        ["Saved fs_high_quality v2.", "Saved fs_medium_quality v2."],
    )
    assert typed("policies", "load", str(file), "--yes")[:2] == (0, "All of it is in force already.\n")


def test_a_policy_is_not_saved_when_the_answer_is_no(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, _, _ = typed("policies", "set", "fs_low_quality", "--keep-days", "365")
    assert code == 1
    _, out, _ = typed("policies", "show", "fs_low_quality", "--json")
    assert len(json.loads(out)) == 1


def test_a_run_is_refused_confirmed_taken_back_and_told_by_typing(typed: Typed) -> None:
    code, _, err = typed("run", "fs_low_quality")
    assert (code, "max_fraction: 4 of 10 rows would go" in err) == (3, True), err
    code, out, _ = typed("history", "feature_store", "--json")
    (refused,) = json.loads(out)
    sha256 = refused["plan_sha256"]
    assert (refused["state"], refused["removed"], sha256 in err) == ("refused", 0, True)
    assert refused["refused_because"].startswith("max_fraction: ")
    code, out, err = typed("run", sha256[:12], "--json")
    told = json.loads(out)
    assert (code, told["state"], told["plan_sha256"], told["can_confirm"]) == (3, "refused", sha256, True)
    assert told["reason"].startswith("max_fraction: 4 of 10 rows would go")
    assert told["hint"] in err
    code, out, err = typed("run", sha256[:12], "--confirm", sha256[:12], "--json")
    told = json.loads(out)
    assert (code, "Give all 64 characters" in err) == (2, True), err
    assert (told["state"], set(told)) == ("mistake", {"state", "reason", "hint"})
    with open_server(load_settings()) as server, run_lock(server, "feature_store", "f" * 64):
        code, out, err = typed("run", sha256[:12], "--confirm", sha256, "--json")
    told = json.loads(out)
    assert (code, told["state"], told["reason"] in err) == (4, "busy", True), err

    code, out, _ = typed("hold", "feature_store", "source_data_id = 'text' and feature_hash = 'x'", "--reason", "Why.")
    assert code == 2  # a feature is held by its fields; its hash is none of them
    code, out, _ = typed("hold", "feature_store", "quality_score > 2", "--reason", "A trial.")
    assert (code, out) == (0, "Hold 1 keeps feature_store where quality_score > 2.\n")
    code, out, _ = typed("run", sha256[:12], "--confirm", sha256, "--json")
    (ran,) = json.loads(out)
    assert (code, ran["state"], ran["removed"], ran["kept"]) == (0, "published", 4, 0)
    assert typed("run", sha256)[0] == 0  # a second time changes nothing
    code, out, _ = typed("history")
    assert (sha256[:12] in out, "published" in out, "not run" in out) == (True, True, False)

    code, out, _ = typed("restore", "--dataset", "feature_store", "--row", "h1")
    assert (code, out) == (0, f"feature_store: 1 rows came back from plan {sha256[:12]}.\n")
    code, out, _ = typed("restore", "--dataset", "feature_store", "--row", "h1")
    assert (code, out) == (0, "Nothing to bring back: no plan in its grace removed it.\n")
    code, out, _ = typed("restore", "--plan", sha256[:12], "--json")
    assert (code, [one["rows"] for one in json.loads(out)]) == (0, [3])
    code, _, err = typed("run", sha256, "--confirm", sha256)
    assert (code, "was taken back" in err) == (2, True), err
    assert typed("restore")[0] == 2
    assert typed("sweep")[0] == 0

    assert [one["hold_id"] for one in json.loads(typed("holds", "--json")[1])] == [1]
    assert typed("release", "1")[1] == "Hold 1 on feature_store is released.\n"
    assert json.loads(typed("holds", "--json")[1]) == []
    assert len(json.loads(typed("holds", "--all", "--json")[1])) == 1
    code, _, err = typed("release", "7")
    assert code == 2, err


def test_the_audit_is_verified_by_typing_and_a_change_of_it_is_seen(
    typed: Typed, database: Server, database_settings: Settings
) -> None:
    typed("run", "fs_low_quality")
    code, out, _ = typed("audit", "verify")
    assert (code, out.startswith("The audit holds: ")) == (0, True), out
    head = out.rpartition("head ")[2].strip()
    assert typed("audit", "verify", "--noted", head)[0] == 0
    code, _, err = typed("audit", "verify", "--noted", "no head")
    assert (code, "is no head of the audit" in err) == (2, True)
    typed("run", "fs_low_quality")
    assert typed("audit", "verify", "--noted", head)[0] == 0
    with psycopg.connect(address.conninfo(database.address()), autocommit=True) as con:
        con.execute("set session_replication_role = replica")
        con.execute("update audit set actor = 'nobody' where seq = (select max(seq) from audit)")
    code, out, _ = typed("audit", "verify", "--json")
    assert (code, json.loads(out)["holds"]) == (1, False)
    code, out, _ = typed("audit", "verify")
    assert (code, out.startswith("The audit is broken at row ")) == (1, True), out
