"""The notebooks run on a small lake made by the demo's own simulation, and are kept without output."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from retention_pipelines.demo.simulate import simulate
from retention_pipelines.features.compute import compute_features
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.settings import load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a small simulated survey, its features and what the notebooks read of the series."""
    folder = tmp_path_factory.mktemp("notebooks")
    simulation = simulate(folder / "raw", seed=5, hauls_per_cruise=8)
    settings = load_settings({}, lake_root=str(folder / "lake"), state_dir=folder / "state")
    with Lake(settings) as lake:
        ingest([str(simulation.archive), str(simulation.stations.cast_path)], lake, now=NOW)
        compute_features(lake, months=("2019-02", "2019-03", "2019-08"), now=NOW)
        update_series(lake)
        update_seasonal_patterns(lake)
        lake.publish()
    return folder / "lake"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a kernel that is this very interpreter, whatever is installed on the machine."""
    folder = tmp_path / "jupyter" / "kernels" / "this-interpreter"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "this", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    return "this-interpreter"


def outputs(notebook: Any, kind: str) -> list[str]:
    return [
        str(output["data"][kind])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, lake_root: Path, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETENTION_LAKE_ROOT", str(lake_root))
    monkeypatch.setenv("RETENTION_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook: Any = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name=kernel, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(outputs(notebook, "image/png")) == 2  # the map and the cycle
    assert any("temperature_degc" in table for table in outputs(notebook, "text/plain"))
    assert any("richness" in table for table in outputs(notebook, "text/plain"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_output(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{path.name}: strip the output of cell {cell.id}"
            assert cell.execution_count is None, f"{path.name}: cell {cell.id} has a run number"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
