"""Notes that let a second run skip what is done."""

import hashlib

from retention_pipelines.demo import progress
from retention_pipelines.demo.simulate import RAW_FILES, simulate
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.demo.test_report import fill, occurrence


def test_a_simulation_counts_only_while_its_files_are_whole_and_of_this_seed_and_version(settings: Settings) -> None:
    folder = progress.raw_folder(settings, 3)
    assert not progress.is_simulated(folder, 3, "1")
    simulate(folder, seed=3, hauls_per_cruise=2)
    assert not progress.is_simulated(folder, 3, "1"), "cut off before the note"
    progress.note_simulated(folder, 3, "1")
    assert progress.is_simulated(folder, 3, "1")
    assert not progress.is_simulated(folder, 3, "2")
    assert not progress.is_simulated(folder, 4, "1")
    changed = folder / RAW_FILES[1]
    changed.write_text(changed.read_text() + "one more line\n")
    assert not progress.is_simulated(folder, 3, "1")
    changed.unlink()
    assert not progress.is_simulated(folder, 3, "1")


def test_series_are_computed_again_when_a_dataset_or_the_cell_size_changes(lake: Lake, settings: Settings) -> None:
    assert not progress.is_computed(settings, lake)
    progress.note_computed(settings, lake)
    assert progress.is_computed(settings, lake)
    assert not progress.is_computed(settings.model_copy(update={"cell_deg": 1.0}), lake)
    fill(lake, "ingested_files", {"path": "again.csv", "status": "duplicate", "reasons": "{}"})
    assert progress.is_computed(settings, lake), "a delivery that added nothing"
    fill(lake, "occurrences", occurrence(-12.3, 13.6, "Sardinella aurita"))
    assert not progress.is_computed(settings, lake)


def test_a_broken_note_is_no_note(lake: Lake, settings: Settings) -> None:
    progress.note_computed(settings, lake)
    (note,) = (settings.state_dir / "demo").glob("*.json")
    note.write_text("{")
    assert not progress.is_computed(settings, lake)


def test_files_of_another_seed_are_told_from_those_at_hand(lake: Lake, settings: Settings) -> None:
    here, other = (progress.raw_folder(settings, seed) for seed in (3, 4))
    paths = list(simulate(here, seed=3, hauls_per_cruise=2).files)
    others = list(simulate(other, seed=4, hauls_per_cruise=2).files)
    assert not progress.is_ingested(lake, paths)
    assert not progress.has_another_simulation(lake, paths)
    fill(lake, "ingested_files", *(
        {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "status": "ingested",
         "reasons": "{}"} for path in paths
    ))  # fmt: skip
    assert progress.is_ingested(lake, paths)
    assert not progress.has_another_simulation(lake, paths)
    assert not progress.is_ingested(lake, others)
    assert progress.has_another_simulation(lake, others)
    fill(lake, "ingested_files", {"path": "bottle.csv", "sha256": "b", "status": "ingested", "reasons": "{}"})
    assert not progress.has_another_simulation(lake, paths)
