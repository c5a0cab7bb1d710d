"""From what a person names to raw files that can be read: folders, globs, gzip and zip.

What belongs here: which files there are, which are left alone, and whether their bytes are whole. What does not: what
is in them (`staging.Readers`). Nothing is written but copies in the given workspace.
"""

import glob
import gzip
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.staging import RawFile

_HEAD = 64 * 1024
_LONGEST_HEADER = 8 * 1024 * 1024
_CHUNK = 1 << 20
# Text packs to a tenth, seldom to a hundredth; what unpacks to more than this, and to this much, only fills the disk.
_MOST_UNPACKED = 200
_UNPACKED_ALLOWANCE = 256 * 1024 * 1024
# An archive in an archive is opened; deeper ones are refused: some unpack to themselves without end.
_DEEPEST = 2
CHANGED = "It changed while it was read; ingest it again when it is complete."
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
    """A delivered path that cannot be read at all, and why; its bytes are at `local`."""

    path: str
    local: Path
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
        for path, by_name in _expand(os.fspath(given), found):
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            why = _why_ignored(path, by_name=by_name)
            if why is not None:
                found.ignored.append(Ignored(path=_shown(path), why=why))
                continue
            _open_into(found, _shown(path), Path(path), workspace)
    return found


def _shown(path: str) -> str:
    """A path as text that can be stored: bytes of a name that are not UTF-8 become question marks."""
    return os.fsencode(path).decode("utf-8", errors="replace")


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
            _open_into(found, _shown(str(entry)), entry, workspace)
    return found.files


def _expand(given: str, found: Discovery) -> Iterator[tuple[str, bool]]:
    """Paths with whether the person named that very file."""
    if os.path.isdir(given):

        def unreadable(error: OSError) -> None:
            path = Path(str(error.filename))
            why = f"The folder cannot be opened: {error.strerror or error}."
            found.unreadable.append(_unreadable(_shown(str(path)), path, why))

        for folder, folders, names in os.walk(given, onerror=unreadable):
            for name in sorted(folders):
                path = os.path.join(folder, name)
                if name.startswith((".", "__MACOSX")):
                    found.ignored.append(Ignored(path=_shown(path), why="hidden folder"))
                elif os.path.islink(path):
                    found.ignored.append(Ignored(path=_shown(path), why="link to a folder; name it to read it"))
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
                yield from _expand(match, found)
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


def _unreadable(path: str, local: Path, why: str, size: int = 0, digest: str = "") -> Unreadable:
    # Without content the path tells two of them apart.
    identity = digest or hashlib.sha256(os.fsencode(path)).hexdigest()
    return Unreadable(path=path, local=local, sha256=identity, size=size, why=why)


def _open_into(found: Discovery, path: str, local: Path, workspace: Path, depth: int = 0) -> None:
    """Add a file, or the members of an archive, to what was found; one that cannot be read stops no other."""
    size, digest = 0, ""
    try:
        size, digest = _measure(local)
        _open(found, path, local, size, digest, workspace, depth)
    except FileRefused as refusal:
        found.unreadable.append(_unreadable(path, local, str(refusal), size, digest))
    except FileNotFoundError:
        found.unreadable.append(_unreadable(path, local, "There is no such file."))
    except OSError as error:
        why = f"It cannot be opened: {error.strerror or error}."
        found.unreadable.append(_unreadable(path, local, why, size, digest))


def _measure(path: Path) -> tuple[int, str]:
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileRefused("It is no file but a pipe, a socket or a device.")
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _open(found: Discovery, path: str, local: Path, size: int, digest: str, workspace: Path, depth: int) -> None:
    if size == 0:
        raise FileRefused("The file is empty.")
    with local.open("rb") as start:
        magic = start.read(4)
    if magic[:2] == b"\x1f\x8b":
        copy = _unpack_gzip(local, size, workspace)
        inner = _raw(path, copy, size, digest)
        if inner.head[:2] == b"\x1f\x8b":
            raise FileRefused("It is a gzip file inside a gzip file; unpack it once.")
        found.files.append(inner)
    elif magic == b"PK\x03\x04":
        _open_zip(found, path, local, size, digest, workspace, depth)
    elif local.suffix.lower() == ".gz":
        raise FileRefused("Its name ends in .gz, but it is not a gzip file.")
    elif local.suffix.lower() == ".zip":
        raise FileRefused("Its name ends in .zip, but it is not a zip archive, or an empty one.")
    else:
        file = _raw(path, local, size, digest)
        if file.stamp is not None and file.stamp[0] != size:
            raise FileRefused(CHANGED)
        found.files.append(file)


def _raw(path: str, local: Path, size: int, digest: str, members: tuple[str, ...] = ()) -> RawFile:
    with local.open("rb") as file:
        head = file.read(_HEAD)
        if b"\n" not in head and b"\r" not in head:
            head += file.readline(_LONGEST_HEADER)  # a header of thousands of columns is read whole
        written = os.fstat(file.fileno())
    if not head:
        raise FileRefused("The file is empty.")
    return RawFile(
        path=path, local=local, sha256=digest, size=size, head=head, members=members,
        stamp=(written.st_size, written.st_mtime_ns),
    )  # fmt: skip


def _require_sensible(unpacked: int, packed: int) -> None:
    if unpacked > _UNPACKED_ALLOWANCE and unpacked > packed * _MOST_UNPACKED:
        raise FileRefused(
            f"It unpacks to more than {_MOST_UNPACKED} times its size ({packed:,} bytes), which data never does; if "
            "it is meant to, unpack it and ingest the file."
        )


def _unpack_gzip(local: Path, size: int, workspace: Path) -> Path:
    copy = _place(workspace, local.name.removesuffix(".gz"))
    unpacked = 0
    try:
        with gzip.open(local, "rb") as packed, copy.open("wb") as target:
            while chunk := packed.read(_CHUNK):
                unpacked += len(chunk)
                _require_sensible(unpacked, size)
                target.write(chunk)
    except FileRefused:
        copy.unlink()
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileRefused(f"The gzip file is truncated or damaged ({error}); fetch it again.") from error
    return copy


def _open_zip(found: Discovery, path: str, local: Path, size: int, digest: str, workspace: Path, depth: int) -> None:
    if depth >= _DEEPEST:
        raise FileRefused("It is a zip archive inside archives; unpack it once.")
    try:
        with zipfile.ZipFile(local) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            names = tuple(entry.filename for entry in entries)
            # Reading a member stops at the size it states.
            _require_sensible(sum(entry.file_size for entry in entries), size)
            damaged = archive.testzip()
            if damaged is not None:
                raise FileRefused(f"The zip archive is damaged at {damaged}; fetch it again.")
            if any(name.endswith(("xl/workbook.xml", "word/document.xml")) for name in names):
                raise FileRefused("It is an Office document; save its table as CSV and ingest that.")
            if any(name == "meta.xml" or name.endswith("/meta.xml") for name in names):
                found.files.append(_raw(path, local, size, digest, names))
                return
            opened = False
            for entry in entries:
                name = f"{path}/{entry.filename}"
                why = "hidden file" if entry.filename.startswith("__MACOSX/") else None
                why = why or _why_ignored(entry.filename, by_name=False)
                if why is not None:
                    found.ignored.append(Ignored(path=name, why=why))
                    continue
                copy = _place(workspace, os.path.basename(entry.filename))
                with archive.open(entry) as packed, copy.open("wb") as target:
                    while chunk := packed.read(_CHUNK):
                        target.write(chunk)
                _open_into(found, name, copy, workspace, depth + 1)
                opened = True
            if not opened:
                raise FileRefused("The zip archive holds no data file.")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileRefused(f"The zip archive is truncated or damaged ({error}); fetch it again.") from error


def _place(workspace: Path, name: str) -> Path:
    """A path of its own in the workspace that keeps the name, so that suffixes still say what they say."""
    folder = workspace / f"{sum(1 for _ in workspace.iterdir()):06d}"
    folder.mkdir()
    stem, suffix = os.path.splitext(os.path.basename(name).replace("\0", ""))
    return folder / (stem[:100] + suffix[:20] or "file")


__all__ = ["CHANGED", "Discovery", "Ignored", "Unreadable", "discover", "siblings"]
