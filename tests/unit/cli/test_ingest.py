"""`retention ingest`: the table, the JSON and the exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from retention_pipelines.cli.ingest import REFUSED, draft_mapping, ingest, list_mappings, show_mapping

HEADER = "lon,lat,date,quarter,depth_m,sta_dpos,t_degc,salinity,o2sat"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "good.csv").write_text(
        f"{HEADER}\n-120.5,33.5,2001-02-03,1,0,1,15,33,98\n0,0,2001-02-03,1,0,1,15,33,98\n"
    )
    (tmp_path / "unknown.csv").write_text("alpha,beta\n1,2\n")


def test_the_table_tells_counts_by_reason(capsys):
    ingest(["good.csv"])
    said = capsys.readouterr().out
    assert "zero_position 1" in said
    assert "calcofi_bottle" in said


def test_json_is_one_object_whose_counts_add_up(capsys):
    ingest(["good.csv"], as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["read"] == report["accepted"] + report["quarantined"] + report["duplicates"] == 2
    assert report["files"][0]["reasons"] == {"zero_position": 1}


def test_a_refused_file_makes_exit_code_3_after_the_others_are_taken(capsys):
    with pytest.raises(typer.Exit) as caught:
        ingest(["unknown.csv", "good.csv"], as_json=True)
    assert caught.value.exit_code == REFUSED == 3
    assert json.loads(capsys.readouterr().out)["accepted"] == 1


def test_mappings_are_listed_shown_and_drafted(capsys):
    list_mappings()
    assert "sactn_monthly" in capsys.readouterr().out
    show_mapping("sactn_monthly")
    assert "decimal_year: date" in capsys.readouterr().out
    draft_mapping("unknown.csv")
    assert "EDIT" in capsys.readouterr().out


def test_neither_ingesting_text_nor_asking_the_lake_loads_pandas():
    # A quarter of a second of every command; pyarrow loads it by itself wherever it makes an array out of a list.
    program = (
        "import sys\n"
        "from retention_pipelines.cli.app import main\n"
        "for arguments in (['ingest', 'good.csv'], ['query', 'select count(*) from observations']):\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "print({'pandas', 'obstore.fsspec', 'xarray', 'dagster', 'sqlalchemy'} & set(sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "set()"
