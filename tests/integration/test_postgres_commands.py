"""`retention db …` and `retention doctor`, as commands."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines.cli.app import main
from retention_pipelines.cli.diagnosis import examine
from retention_pipelines.postgres import migrate
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder to run commands in."""
    made = Path(tempfile.mkdtemp(prefix="rp-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@dataclass(frozen=True)
class Told:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


class Command:
    """The command line, in this process and a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.delenv("RETENTION_DATABASE_URL", raising=False)
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, url: str | None = None) -> Told:
        if url is not None:
            self._monkeypatch.setenv("RETENTION_DATABASE_URL", url)
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = self._capsys.readouterr()
        return Told(int(ended.value.code or 0), out, err)


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(folder, monkeypatch, capsys)


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def finding(findings: list[Any], name: str) -> Any:
    return next(one for one in findings if one.name == name)


def test_doctor_on_an_untouched_folder_starts_and_makes_nothing(folder: Path, run: Command) -> None:
    told = run("doctor", "--json")
    assert told.code == 1, told.err
    said = json.loads(told.out)
    assert said["ok"] is False
    by_name = {(one["section"], one["name"]): one for one in said["findings"]}
    assert by_name["Postgres", "server"]["value"] == "embedded"
    assert by_name["Postgres", "server"]["detail"] == "not running"
    assert by_name["Postgres", "database"]["advice"].startswith("Run `retention db upgrade`")
    assert by_name["Postgres", "database bytes"]["value"] is None
    assert list(folder.iterdir()) == []


def test_the_embedded_database_is_made_by_upgrade_and_found_by_doctor(folder: Path, run: Command) -> None:
    first = run("db", "upgrade", "--json")
    assert first.code == 0, first.err
    made = json.loads(first.out)
    assert (made["database"], made["before"]) == ("retention", None)
    again = run("db", "upgrade")
    assert "already" in again.out
    current = json.loads(run("db", "current", "--json").out)
    assert current["is_current"] is True
    assert made["after"] == current["current"]
    started = json.loads(run("doctor", "--start", "--json").out)
    by_name = {(one["section"], one["name"]): one for one in started["findings"]}
    assert by_name["Postgres", "server"]["detail"] == "running"
    assert by_name["Postgres", "tables"]["value"] == current["newest"]
    assert by_name["Postgres", "version"]["value"].startswith("18.")
    assert by_name["Postgres", "database bytes"]["value"] > 1_000_000
    assert by_name["Postgres", "bytes on disk"]["value"] > 10_000_000
    assert [one for one in started["findings"] if one["section"] == "Postgres" and one["status"] == "problem"] == []


def test_doctor_sees_an_old_state_of_the_tables_and_says_what_to_run(
    database: Server, database_settings: Settings
) -> None:
    assert finding(examine(database_settings), "tables").status == "ok"
    migrate.downgrade_server(database, "base")
    found = finding(examine(database_settings), "tables")
    assert (found.status, found.value, found.advice) == ("problem", "none", "Run `retention db upgrade`.")


def test_doctor_says_when_the_server_cannot_be_reached_and_shows_no_password(folder: Path, run: Command) -> None:
    told = run("doctor", url="postgresql://ana:canary@127.0.0.1:1/sea")
    assert told.code == 1
    assert "cannot be reached" in told.out
    assert "Is the server up" in told.out
    assert "canary" not in told.out + told.err
    assert list(folder.iterdir()) == []


def test_doctor_measures_the_lake(settings: Settings) -> None:
    assert finding(examine(settings), "data").value == 0
    assert not Path(settings.lake_root).exists()
    with Lake(settings) as lake:
        lake.table("ingested_files")
        con = lake.con
        columns = ", ".join(f"null::{kind} as {name}" for name, kind in lake.table("quarantine").dataset.types.items())
        con.execute(f"create table one as select {columns}")
        required = [column.name for column in lake.table("quarantine").dataset.columns if column.required]
        for name in required:
            kind = lake.table("quarantine").dataset.types[name]
            value = {"VARCHAR": "'2020-01'", "BIGINT": "1", "INTEGER": "1"}.get(kind, "now()")
            con.execute(f'update one set "{name}" = {value}')
        lake.table("quarantine").append("select * from one", op="test")
        lake.publish()
        expected = sum(file.bytes for file in lake.table("quarantine").files())
    found = examine(settings)
    assert finding(found, "datasets with data").value == 1
    assert finding(found, "files").value == 1
    assert finding(found, "rows").value == 1
    assert finding(found, "bytes of live files").value == expected
    assert not [one for one in found if one.name == "not published"]


def test_doctor_names_settings_whose_files_are_missing(tmp_path: Path) -> None:
    settings = load_settings({}, state_dir=tmp_path, lake_root=str(tmp_path), zones_file=tmp_path / "none.geojson")
    found = finding(examine(settings), "RETENTION_ZONES_FILE")
    assert (found.status, found.advice) == ("problem", "Correct RETENTION_ZONES_FILE, or unset it.")


def test_doctor_says_what_is_wrong_with_a_lake_it_cannot_read(tmp_path: Path) -> None:
    log = tmp_path / "lake" / "_lake" / "observations" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("{bad")
    settings = load_settings({}, state_dir=tmp_path, lake_root=str(tmp_path / "lake"))
    found = finding(examine(settings), "readable")
    assert (found.status, found.value) == ("problem", False)
    assert found.detail


def test_doctor_says_when_a_file_is_where_a_folder_belongs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = load_settings({}, state_dir=tmp_path / "file" / "state", lake_root=str(tmp_path / "file"))
    found = examine(settings)
    assert "set RETENTION_LAKE_ROOT to a folder" in finding(found, "folder, lake").advice
    assert "set RETENTION_STATE_DIR to a folder" in finding(found, "folder, state folder").advice


def test_going_back_asks_before_data_is_lost(database: Server, database_settings: Settings, run: Command) -> None:
    with connect(database) as con:
        con.execute("insert into models (model_id, model_version, reproducibility_seconds) values ('a', '1', 0)")
    refused = run("db", "downgrade", "base", url=url_of(database_settings))
    assert refused.code == 2
    assert "models hold rows" in refused.err
    assert "--yes" in refused.err
    done = run("db", "downgrade", "base", "--yes", url=url_of(database_settings))
    assert done.code == 0, done.err
    empty = run("db", "current", url=url_of(database_settings))
    assert "Run `retention db upgrade`" in empty.out
