"""Notes that let a second run skip what is done: which files were simulated, what was computed from which state.

Belongs here: the two notes and whether they still hold. Not here: doing the work. A note is written after the work it
tells of, so a run that was cut off is done again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from retention_pipelines.demo.labels import PREFIX
from retention_pipelines.demo.simulate import RAW_FILES, SEINE_MAPPING
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind

_SIMULATED = "simulated.json"
_COMPUTED = "computed.json"
#: Datasets whose state decides whether features and series are up to date; the ledger grows with every delivery.
_WATCHED = (
    "occurrences",
    "observations",
    "feature_store",
    "aggregated_time_series",
    "biodiversity_statistics",
    "seasonal_patterns",
    "trends",
    "upwelling_frequency",
)


def raw_folder(settings: Settings, seed: int) -> Path:
    """Where the simulated files of a seed are kept."""
    return settings.state_dir / "demo" / f"seed-{seed}"


def is_simulated(folder: Path, seed: int, version: str) -> bool:
    """Whether the files of that seed were written by that version of the package and are as they were written."""
    hashes = _hashes(folder)
    note = {"seed": seed, "version": version, "files": hashes}
    return len(hashes) == len(RAW_FILES) + 1 and _read(folder / _SIMULATED) == note


def note_simulated(folder: Path, seed: int, version: str) -> None:
    """Note that the files are complete."""
    _write(folder / _SIMULATED, {"seed": seed, "version": version, "files": _hashes(folder)})


def is_ingested(lake: Lake, paths: Iterable[Path]) -> bool:
    """Whether the ledger knows the content of every file as ingested."""
    return {_hash(path) for path in paths} <= {sha256 for sha256, _ in _ingested(lake)}


def has_another_simulation(lake: Lake, paths: Iterable[Path]) -> bool:
    """Whether simulated files other than these were ingested: of another seed, or of an earlier version."""
    hashes = {_hash(path) for path in paths}
    return any(Path(path).name.startswith(PREFIX) and sha256 not in hashes for sha256, path in _ingested(lake))


def _ingested(lake: Lake) -> list[tuple[str, str]]:
    bind(lake.con, "delivered", lake.table("ingested_files").scan())
    return lake.con.execute("select sha256, path from delivered where status = 'ingested'").fetchall()


def is_computed(settings: Settings, lake: Lake) -> bool:
    """Whether features and series were computed with these settings and no dataset has changed since."""
    return _read(_computed_note(settings)) == _state(settings, lake)


def note_computed(settings: Settings, lake: Lake) -> None:
    """Note that features and series are up to date."""
    _write(_computed_note(settings), _state(settings, lake))


def _computed_note(settings: Settings) -> Path:
    return settings.state_dir / "demo" / _COMPUTED


def _state(settings: Settings, lake: Lake) -> dict[str, object]:
    described = settings.model_dump(mode="json", include={"cell_deg", "surface_limit_m", "zones_file", "regions_file",
                                                          "traits_file"})  # fmt: skip
    return described | {"lake": lake.root, "versions": {name: lake.table(name).version() for name in _WATCHED}}


def _hashes(folder: Path) -> dict[str, str]:
    return {name: _hash(folder / name) for name in (*RAW_FILES, SEINE_MAPPING) if (folder / name).is_file()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: Path, note: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(note, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(beside, path)
