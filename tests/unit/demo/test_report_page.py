"""The printed page: English and Portuguese, wide and narrow, with and without colour."""

import dataclasses
import io
import string
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from retention_pipelines.demo.language import ENGLISH, PORTUGUESE, Texts, real, size, whole
from retention_pipelines.demo.report import (
    DatasetSize,
    Deliveries,
    MonthMean,
    Quarantined,
    Report,
    RichCell,
    SeasonalCycle,
    TypeQuality,
)
from retention_pipelines.demo.report_page import StepTime, bars, print_report

CYCLE = SeasonalCycle(
    dataset_id="simulated_x",
    variable="temperature_degc",
    location_grid="-12.5_13.5",
    center_lat=-12.375,
    center_lon=13.625,
    months=tuple(MonthMean(month=month, mean=20.0 + month / 2, n_years=4) for month in range(1, 13) if month != 6),
)
REPORT = Report(
    root="lake",
    simulated="all",
    datasets=(DatasetSize(name="occurrences", rows=12345, bytes=6789, files=3),),
    deliveries=(Deliveries(status="ingested", files=2, read=10, accepted=7, quarantined=2, duplicates=1),),
    quarantined=(Quarantined(reason="zero_position", dataset_id="simulated_x", rows=2),),
    cycle=CYCLE,
    richest=(
        RichCell(location_grid="-8.0_12.75", richness=9, n_records=40, commonest="[a] name", commonest_records=8),
    ),
    quality=(
        TypeQuality(feature_type="species", rows=5, mean_quality=0.5, median_quality=0.25, high=1, medium=2, low=2),
    ),
    disk_bytes=1_234_567,
)
EMPTY = dataclasses.replace(
    REPORT, simulated="none", deliveries=(), quarantined=(), cycle=None, richest=(), quality=(), disk_bytes=None
)


def printed(report: Report, words: Texts, *, width: int = 100, **more: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False, **more)
    print_report(report, (StepTime(step="ingest", seconds=1.25), StepTime(step="report", seconds=2.0)), console, words)
    return stream.getvalue()


@pytest.mark.parametrize("words", [ENGLISH, PORTUGUESE], ids=["en", "pt"])
def test_the_page_shows_every_figure_of_the_report(words: Texts) -> None:
    page = printed(REPORT, words)
    for text in ("occurrences", "zero_position", "-12.5_13.5", "-8.0_12.75", "[a] name (8)", "species", "1/2/2",
                 whole(12345, words), size(6789, words), size(1_234_567, words), real(3.25, words, 1)):  # fmt: skip
        assert text in page, text
    assert words.all_simulated in page
    assert "\x1b" not in page
    assert all(command in page for command, _ in words.next_lines)


@pytest.mark.parametrize("words", [ENGLISH, PORTUGUESE], ids=["en", "pt"])
def test_what_is_not_there_is_said(words: Texts) -> None:
    page = " ".join(printed(EMPTY, words).split())
    for text in (words.no_quarantine, words.no_cycle, words.no_taxa, words.no_features, words.no_deliveries):
        assert text in page
    assert words.all_simulated not in page
    assert "{" not in page
    assert " - " not in page


def test_a_narrow_terminal_gets_every_month_on_a_line_that_fits() -> None:
    page = printed(REPORT, ENGLISH, width=32)
    chart = [line for line in page.splitlines() if line[:3] in ENGLISH.months]
    assert len(chart) == 12
    assert max(len(line) for line in chart) <= 32


def test_bars_grow_with_the_mean_and_a_missing_month_has_none() -> None:
    lines = bars(CYCLE, 80, ENGLISH, ascii_only=True)
    lengths = [line.count("#") for line in lines]
    assert lines[5] == "Jun     -"
    assert lengths[5] == 0
    present = [length for month, length in enumerate(lengths) if month != 5]
    assert present == sorted(present)
    assert present[0] > 0
    assert max(present) == 50
    assert lines[0].startswith("Jan 20.50 ")


def test_the_next_commands_can_be_typed_where_the_shell_does_not_find_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / ".venv" / "bin" / "retention"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert "\n  .venv/bin/retention up\n" in printed(REPORT, ENGLISH)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "retention").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "found"))
    assert "\n  retention up\n" in printed(REPORT, ENGLISH)


def test_a_flat_cycle_is_drawn_too() -> None:
    flat = dataclasses.replace(CYCLE, months=tuple(MonthMean(month=m, mean=5.0, n_years=1) for m in (1, 2)))
    first, second, *rest = bars(flat, 40, ENGLISH, ascii_only=True)
    assert first.count("#") == second.count("#") > 0
    assert all(line.endswith("-") for line in rest)


def test_both_languages_say_the_same_things() -> None:
    def fields(text: object) -> list[str]:
        return sorted(field for _, field, _, _ in string.Formatter().parse(str(text)) if field)

    for field in dataclasses.fields(Texts):
        english, portuguese = getattr(ENGLISH, field.name), getattr(PORTUGUESE, field.name)
        assert portuguese, field.name
        if isinstance(english, str):
            assert fields(english) == fields(portuguese), field.name
        else:
            assert len(english) == len(portuguese), field.name


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"),
                                              (3e12, "3000.0 GB")])  # fmt: skip
def test_sizes_have_a_readable_unit(number: int, text: str) -> None:
    assert size(int(number), ENGLISH) == text


def test_a_mixed_lake_is_said_to_be_mixed() -> None:
    page = " ".join(printed(dataclasses.replace(REPORT, simulated="some"), ENGLISH).split())
    assert ENGLISH.some_simulated in page
    assert ENGLISH.all_simulated not in page
