"""`retention demo`: simulate (or take real files), ingest, compute through Dagster, report.

What belongs here: the order of the steps, what is skipped, and what may go into which lake. What does not: doing any of
it; the steps are those of `retention ingest` and `retention materialize`, the simulation and the report are `demo/`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from retention_pipelines import connect
from retention_pipelines.catalog import DATASETS
from retention_pipelines.cli.materialize import run_pipeline
from retention_pipelines.demo import progress
from retention_pipelines.demo.holdings import empty_lake, holdings
from retention_pipelines.demo.language import Texts, texts, whole
from retention_pipelines.demo.report import build_report
from retention_pipelines.demo.report_page import StepTime, print_report
from retention_pipelines.demo.simulate import DEFAULT_SEED, RAW_FILES, SEINE_MAPPING, simulate
from retention_pipelines.errors import PipelineError, RetentionError, SourceError
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

#: Datasets that come from the landing folder, which the demo leaves to `retention materialize` when it holds files.
_FROM_LANDING = ("quarantine", "ingested_files")


@dataclass(kw_only=True)
class _Clock:
    """Times of the steps, said as they start."""

    console: Console
    times: list[StepTime] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, said: str) -> Iterator[None]:
        self.console.print(f"{said} ...", highlight=False, markup=False)
        started = time.monotonic()
        yield
        self.times.append(StepTime(step=name, seconds=time.monotonic() - started))


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Real files instead of a simulation: a file or a folder, read with everything in it."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the simulation; the same seed gives the same data.")
    ] = DEFAULT_SEED,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh/--keep", help="Start over with an empty lake, or keep what is there and skip what is done."
        ),
    ] = False,
) -> None:
    """Show the whole way: raw files in, features and series through Dagster, a short report."""
    settings = load_settings()
    settings.require_full("retention demo")
    words = texts(settings.locale)
    console = Console()
    clock = _Clock(console=console)
    if data is not None and not data.exists():
        raise RetentionError(f"There is no file or folder {data}.", hint="Give --data the path of raw files.")
    with Lake(settings) as lake:
        if _must_start_over(lake, simulated=data is None, fresh=fresh):
            _start_over(lake, console, words)
        if data is None:
            console.print(words.notice, style="bold", highlight=False)
            folder = _simulated_files(settings, seed, clock, words)
            paths = [folder / name for name in RAW_FILES]
            if progress.has_another_simulation(lake, paths):
                _start_over(lake, console, words)
            if progress.is_ingested(lake, paths):
                console.print(words.step_ingest_kept, highlight=False)
            else:
                _ingest(paths, lake, clock, words, mapping=folder / SEINE_MAPPING)
        else:
            _ingest([data], lake, clock, words)
        computed = progress.is_computed(settings, lake)
    if computed:
        console.print(words.step_materialize_kept, highlight=False)
    else:
        _materialize(settings, data is None, clock, words)
    with clock.step("report", words.step_report):
        con = connect(settings)
        try:
            report = build_report(con, settings)
        finally:
            con.close()
    print_report(report, clock.times, console, words)


def _must_start_over(lake: Lake, *, simulated: bool, fresh: bool) -> bool:
    """Whether the simulated data in the lake have to go first; refuses to mix simulated and real data."""
    held = holdings(lake)
    if simulated and held.real:
        raise RetentionError(
            f"The lake {lake.root} holds {held.real} files of real data; simulated data do not belong beside them.",
            hint="Give the demo a lake of its own: RETENTION_LAKE_ROOT=demo-lake RETENTION_STATE_DIR=.retention-demo "
            "retention demo. For a demo of the real files: retention demo --data PATH.",
        )
    if fresh and held.real:
        raise RetentionError(
            f"--fresh would empty the lake {lake.root}, which holds {held.real} files of real data.",
            hint="Leave --fresh out, or set RETENTION_LAKE_ROOT to another folder.",
        )
    return held.simulated > 0 and (fresh or not simulated)


def _start_over(lake: Lake, console: Console, words: Texts) -> None:
    console.print(words.step_start_over, highlight=False)
    empty_lake(lake)


def _simulated_files(settings: Settings, seed: int, clock: _Clock, words: Texts) -> Path:
    folder = progress.raw_folder(settings, seed)
    if progress.is_simulated(folder, seed, version("retention_pipelines")):
        clock.console.print(words.step_simulate_kept.format(seed=seed), highlight=False)
    else:
        with clock.step("simulate", words.step_simulate.format(folder=folder, seed=seed)):
            simulate(folder, seed=seed)
            progress.note_simulated(folder, seed, version("retention_pipelines"))
    return folder


def _ingest(paths: Sequence[Path], lake: Lake, clock: _Clock, words: Texts, *, mapping: Path | None = None) -> None:
    what = str(paths[0]) if len(paths) == 1 else f"{len(paths)} {words.files}"
    with clock.step("ingest", words.step_ingest.format(what=what)), _bar(clock.console) as progress_of:
        given = None if mapping is None else str(mapping)
        report = ingest(paths, lake, now=datetime.now(UTC), mapping=given, progress=progress_of)
    for file in report.files:
        if file.status == "refused":
            clock.console.print(
                words.refused_file.format(path=file.path, error=file.error), highlight=False, markup=False
            )
    if all(file.status == "refused" for file in report.files):
        raise SourceError(
            words.nothing_ingested.format(what=what),
            hint="`retention ingest PATH` says what each file needs.",
        )


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar over files, only where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(path: str, done: int, total: int) -> None:
            bar.update(task, description=escape(Path(path).name), completed=done, total=total)

        yield show


def _materialize(settings: Settings, simulated: bool, clock: _Clock, words: Texts) -> None:
    """Everything from the lake on; files that wait in the landing folder are not the demo's to ingest."""
    waiting = simulated and settings.landing_dir.is_dir() and any(settings.landing_dir.iterdir())
    select = [name for name in DATASETS if not (waiting and name in _FROM_LANDING)]
    with clock.step("materialize", words.step_materialize):
        outcome = run_pipeline(["--select", ",".join(select)] if waiting else [], clock.console)
    if not outcome.success:
        raise PipelineError(
            outcome.reasons[0] if outcome.reasons else "A run of the pipeline failed.",
            hint=outcome.hint or "`retention up` shows the runs with their logs.",
        )
    for item in outcome.done:
        rows = f"{whole(item.rows, words)} {words.rows}"
        clock.console.print(f"    {item.asset}: {rows}, {item.seconds:.1f} s", highlight=False, markup=False)
    with Lake(settings) as lake:
        progress.note_computed(settings, lake)
