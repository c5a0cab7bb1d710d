"""Prints a report: tables and a bar chart that need neither colour nor a wide terminal.

Belongs here: layout. Not here: what the figures are (`report.py`), words (`language.py`).
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retention_pipelines.demo.language import Texts, real, size, whole
from retention_pipelines.demo.report import Report, SeasonalCycle

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDEST_BAR = 50
_ROOM_FOR_FILES = 60


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long a step of the demo took."""

    step: str
    seconds: float


def print_report(report: Report, times: Sequence[StepTime], console: Console, words: Texts) -> None:
    """Print the whole page."""
    _heading(console, words.title.format(root=report.root))
    if report.simulated != "none":
        console.print(words.all_simulated if report.simulated == "all" else words.some_simulated, style="bold")
    _datasets(report, console, words)
    _deliveries(report, console, words)
    _quarantined(report, console, words)
    _cycle(report.cycle, console, words)
    _richest(report, console, words)
    _quality(report, console, words)
    _sizes(report, console, words)
    _times(times, console, words)
    _next(console, words)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(f"[bold]{escape(text)}[/bold]", highlight=False)


def _table(console: Console, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """A table; a column is its title and whether it holds numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for place, (title, is_number) in enumerate(columns):
        # The name of a row and numbers stay whole; words give way in a narrow terminal.
        whole_text = place == 0 or is_number
        table.add_column(title, justify="right" if is_number else "left", overflow="fold", no_wrap=whole_text)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _datasets(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.datasets)
    columns = [(words.dataset, False), (words.rows, True), (words.bytes, True), (words.files, True)]
    shown = len(columns) if console.width >= _ROOM_FOR_FILES else len(columns) - 1
    rows = [(d.name, whole(d.rows, words), size(d.bytes, words), whole(d.files, words)) for d in report.datasets]
    _table(console, columns[:shown], [row[:shown] for row in rows])


def _deliveries(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.deliveries)
    if not report.deliveries:
        console.print(words.no_deliveries)
    for line in report.deliveries:
        console.print(
            words.deliveries_line.format(
                files=whole(line.files, words),
                status=words.status.get(line.status, line.status),
                read=whole(line.read, words),
                accepted=whole(line.accepted, words),
                quarantined=whole(line.quarantined, words),
                duplicates=whole(line.duplicates, words),
            ),
            highlight=False,
        )


def _quarantined(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.quarantined)
    if not report.quarantined:
        console.print(words.no_quarantine)
        return
    _table(
        console,
        ((words.reason, False), (words.rows, True), (words.dataset, False)),
        [(q.reason, whole(q.rows, words), q.dataset_id) for q in report.quarantined],
    )


def _cycle(cycle: SeasonalCycle | None, console: Console, words: Texts) -> None:
    if cycle is None:
        _heading(console, words.cycle.partition(":")[0])
        console.print(words.no_cycle)
        return
    _heading(console, words.cycle.format(variable=cycle.variable))
    years = sorted({month.n_years for month in cycle.months})
    span = str(years[0]) if len(years) == 1 else f"{years[0]}-{years[-1]}"
    console.print(
        words.cycle_where.format(cell=cycle.location_grid, dataset=cycle.dataset_id, years=span), highlight=False
    )
    for line in bars(cycle, console.width, words, ascii_only=console.options.ascii_only):
        console.print(line, highlight=False, markup=False, no_wrap=True, overflow="crop")


def bars(cycle: SeasonalCycle, width: int, words: Texts, *, ascii_only: bool) -> list[str]:
    """A line per calendar month: name, mean, bar. Bars start a tenth of the range below the smallest mean."""
    means = {month.month: month.mean for month in cycle.months}
    low, high = min(means.values()), max(means.values())
    start = low - (high - low) * 0.1 if high > low else low - 1.0
    numbers = {month: real(mean, words) for month, mean in means.items()}
    digits = max(len(number) for number in numbers.values())
    longest = max(min(width - digits - 6, _WIDEST_BAR), 4)
    lines = []
    for month in range(1, 13):
        label = f"{words.months[month - 1]:<3} {numbers.get(month, '-'):>{digits}} "
        share = (means[month] - start) / (high - start) if month in means else 0.0
        lines.append((label + _bar(share * longest, ascii_only=ascii_only)).rstrip())
    return lines


def _bar(length: float, *, ascii_only: bool) -> str:
    if ascii_only:
        return "#" * round(length)
    eighths = round(length * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _richest(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.richest)
    if not report.richest:
        console.print(words.no_taxa)
        return
    _table(
        console,
        ((words.cell, False), (words.taxa, True), (words.records, True), (words.commonest, False)),
        [
            (
                cell.location_grid,
                whole(cell.richness, words),
                whole(cell.n_records, words),
                f"{cell.commonest} ({whole(cell.commonest_records, words)})",
            )
            for cell in report.richest
        ],
    )


def _quality(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.quality)
    if not report.quality:
        console.print(words.no_features)
        return
    _table(
        console,
        ((words.type, False), (words.rows, True), (words.mean, True), (words.median, True), (words.priorities, False)),
        [
            (
                line.feature_type,
                whole(line.rows, words),
                real(line.mean_quality, words),
                real(line.median_quality, words),
                "/".join(whole(number, words) for number in (line.high, line.medium, line.low)),
            )
            for line in report.quality
        ],
    )


def _sizes(report: Report, console: Console, words: Texts) -> None:
    _heading(console, words.sizes)
    parquet = size(sum(dataset.bytes for dataset in report.datasets), words)
    files = whole(sum(dataset.files for dataset in report.datasets), words)
    if report.disk_bytes is None:
        line = words.sizes_remote.format(parquet=parquet, files=files, root=report.root)
    else:
        total = size(report.disk_bytes, words)
        line = words.sizes_line.format(total=total, root=report.root, parquet=parquet, files=files)
    console.print(line, highlight=False, markup=False)


def _times(times: Sequence[StepTime], console: Console, words: Texts) -> None:
    if not times:
        return
    _heading(console, words.times)
    total = StepTime(step=words.total, seconds=sum(time.seconds for time in times))
    _table(
        console,
        ((words.step, False), (words.seconds, True)),
        [(words.steps.get(time.step, time.step), real(time.seconds, words, 1)) for time in (*times, total)],
    )


def _next(console: Console, words: Texts) -> None:
    _heading(console, words.next)
    for command, why in words.next_lines:
        console.print(f"  {command.replace('retention', _program(), 1)}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"      {why}", highlight=False, markup=False, soft_wrap=True)


def _program() -> str:
    """The command as this shell finds it: after `make demo` in a fresh clone only by its path."""
    found = Path(sys.executable).with_name("retention")
    return "retention" if shutil.which("retention") or not found.is_file() else os.path.relpath(found)
