"""The package's front door: light to import, nothing behind it missing."""

import subprocess
import sys

import pytest

import retention_pipelines

HEAVY = ("dagster", "fastapi", "polars", "pandas", "duckdb", "deltalake", "xarray", "sqlalchemy")


def loaded_by(statement: str) -> set[str]:
    """Heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.strip() else set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import retention_pipelines") == set()


def test_listing_the_commands_loads_nothing_heavy() -> None:
    statement = """
import retention_pipelines.cli.app as app
try:
    app.main(["--help"])
except SystemExit:
    pass
"""
    assert loaded_by(statement) == set()


@pytest.mark.parametrize("name", retention_pipelines.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(retention_pipelines, name).__name__.rpartition(".")[2] == name
    assert name in dir(retention_pipelines)


def test_connecting_loads_no_orchestrator_and_no_second_data_frame_library() -> None:
    assert loaded_by("from retention_pipelines import connect") & {"dagster", "fastapi", "polars", "pandas"} == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = retention_pipelines.nothing
