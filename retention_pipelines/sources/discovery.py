"""From what a person names to raw files that can be read: folders, globs, gzip and zip.

What belongs here: which files there are, which are left alone, and whether their bytes are whole. What does not: what
is in them (`staging.Readers`). Nothing is written but copies in the given workspace.
"""

import glob
import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.staging import RawFile

_HEAD = 64 * 1024
_CHUNK = 1 << 20
_PARTIAL = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".download", ".swp", ".lock", "~")
_NOT_DATA = [
    ".md",
    ".rst",
    ".pdf",
    ".html",
    ".htm",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
    ".py",
    ".r",
    ".rmd",
    ".ipynb",
    ".docx",
    ".doc",
    ".png",
    ".jpg",
    ".jpeg",
    ".svg",
    ".xml",
    ".log",
]
_NAMES_NOT_DATA = {"readme.txt", "license", "license.txt", "licence.txt", "licence", "thumbs.db", "makefile"}
# A folder with more files than this is a store, not a delivery: files beside a delivered one are not looked at.
_MOST_SIBLINGS = 60
_LARGEST_SIBLING = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A delivered path that cannot be read at all, and why."""

    path: str
    sha256: str
    size: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """A path that was left alone, and why."""

    path: str
    why: str


@dataclass(kw_only=True)
class Discovery:
    """What was found: readable files, unreadable ones and those left alone, each in the order of their paths."""

    files: list[RawFile] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)


def discover(paths: Iterable[str | os.PathLike[str]], workspace: Path) -> Discovery:
    """Find and open everything the paths name; a path given twice counts once."""
    found = Discovery()
    seen: set[str] = set()
    for given in paths:
        for path, by_name in _expand(os.fspath(given)):
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            why = _why_ignored(path, by_name=by_name)
            if why is not None:
                found.ignored.append(Ignored(path=path, why=why))
                continue
            _open_into(found, path, Path(path), workspace)
    return found


def siblings(file: RawFile, delivered: Iterable[RawFile], workspace: Path) -> list[RawFile]:
    """Readable files in the folder of a delivered one that were not delivered themselves."""
    folder = Path(file.folder)
    if not folder.is_dir():
        return []
    known = {os.path.realpath(one.path) for one in delivered}
    entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    others = [entry for entry in entries if os.path.realpath(entry) not in known]
    if len(others) > _MOST_SIBLINGS:
        return []
    found = Discovery()
    for entry in others:
        if _why_partial(entry.name) is None and entry.stat().st_size <= _LARGEST_SIBLING and entry.suffix != ".zip":
            _open_into(found, str(entry), entry, workspace)
    return found.files


def _expand(given: str) -> Iterator[tuple[str, bool]]:
    """Paths with whether the person named that very file."""
    if os.path.isdir(given):
        for folder, folders, names in os.walk(given):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
            for name in sorted(names):
                yield os.path.join(folder, name), False
    elif os.path.exists(given) or not glob.has_magic(given):
        yield given, True
    else:
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            yield given, True
        for match in matches:
            if os.path.isdir(match):
                yield from _expand(match)
            else:
                yield match, False


def _why_partial(name: str) -> str | None:
    if name.startswith((".", "~$")):
        return "hidden file"
    if name.lower().endswith(_PARTIAL):
        return "temporary or partial file"
    return None


def _why_ignored(path: str, *, by_name: bool) -> str | None:
    name = os.path.basename(path)
    why = _why_partial(name)
    if why is None and not by_name:
        stem, suffix = os.path.splitext(name.lower())
        if suffix in _NOT_DATA or name.lower() in _NAMES_NOT_DATA or stem in {"readme", "license", "licence"}:
            why = "not a data file"
    return why


def _open_into(found: Discovery, path: str, local: Path, workspace: Path) -> None:
    size, digest = 0, hashlib.sha256().hexdigest()
    try:
        size, digest = _measure(local)
        found.files.extend(_open(path, local, size, digest, workspace))
    except FileRefused as refusal:
        found.unreadable.append(Unreadable(path=path, sha256=digest, size=size, why=str(refusal)))
    except FileNotFoundError:
        found.unreadable.append(Unreadable(path=path, sha256=digest, size=0, why="There is no such file."))
    except OSError as error:
        found.unreadable.append(
            Unreadable(path=path, sha256=digest, size=size, why=f"It cannot be opened: {error.strerror or error}.")
        )


def _measure(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _open(path: str, local: Path, size: int, digest: str, workspace: Path) -> Iterator[RawFile]:
    if size == 0:
        raise FileRefused("The file is empty.")
    with local.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        copy = _unpack_gzip(local, workspace)
        yield _raw(path, copy, size, digest)
    elif magic == b"PK\x03\x04":
        yield from _open_zip(path, local, size, digest, workspace)
    elif local.suffix.lower() == ".gz":
        raise FileRefused("Its name ends in .gz, but it is not a gzip file.")
    elif local.suffix.lower() == ".zip":
        raise FileRefused("Its name ends in .zip, but it is not a zip archive, or an empty one.")
    else:
        yield _raw(path, local, size, digest)


def _raw(path: str, local: Path, size: int, digest: str, members: tuple[str, ...] = ()) -> RawFile:
    with local.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise FileRefused("The file is empty.")
    return RawFile(path=path, local=local, sha256=digest, size=size, head=head, members=members)


def _unpack_gzip(local: Path, workspace: Path) -> Path:
    copy = _place(workspace, local.name.removesuffix(".gz"))
    try:
        with gzip.open(local, "rb") as packed, copy.open("wb") as target:
            while chunk := packed.read(_CHUNK):
                target.write(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileRefused(f"The gzip file is truncated or damaged ({error}); fetch it again.") from error
    return copy


def _open_zip(path: str, local: Path, size: int, digest: str, workspace: Path) -> Iterator[RawFile]:
    try:
        with zipfile.ZipFile(local) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise FileRefused(f"The zip archive is damaged at {damaged}; fetch it again.")
            names = tuple(entry.filename for entry in archive.infolist() if not entry.is_dir())
            if any(name.endswith(("xl/workbook.xml", "word/document.xml")) for name in names):
                raise FileRefused("It is an Office document; save its table as CSV and ingest that.")
            if any(name == "meta.xml" or name.endswith("/meta.xml") for name in names):
                yield _raw(path, local, size, digest, names)
                return
            for name in names:
                if _why_ignored(name, by_name=False) or name.startswith("__MACOSX/"):
                    continue
                copy = _place(workspace, os.path.basename(name))
                with archive.open(name) as packed, copy.open("wb") as target:
                    while chunk := packed.read(_CHUNK):
                        target.write(chunk)
                member_size, member_digest = _measure(copy)
                yield from _open(f"{path}/{name}", copy, member_size, member_digest, workspace)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileRefused(f"The zip archive is truncated or damaged ({error}); fetch it again.") from error


def _place(workspace: Path, name: str) -> Path:
    """A path of its own in the workspace that keeps the name, so that suffixes still say what they say."""
    folder = workspace / f"{sum(1 for _ in workspace.iterdir()):06d}"
    folder.mkdir()
    return folder / (os.path.basename(name) or "file")


__all__ = ["Discovery", "Ignored", "Unreadable", "discover", "siblings"]
