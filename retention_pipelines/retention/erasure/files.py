"""Taking a subject out of files: copies of raw files, training sets, plans; and looking through every file afterwards.

What belongs here: files beside the lake's tables. What does not: the tables' own files (`warehouse/purge.py`). A raw
file cannot be taken apart, so a copy that holds the subject goes whole; what was read from it otherwise stays.
"""

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retention_pipelines.cache.training.durable import list_folder
from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.retention.erasure.subject import Subject
from retention_pipelines.retention.plans.plan_store import FOLDER
from retention_pipelines.settings import Settings

# Of a file that is no Parquet file, as much is read at once.
_BLOCK = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class FileErasure:
    """A subject in the files of a lake and of this machine's state folder."""

    settings: Settings
    subject: Subject

    # -- copies of raw files --------------------------------------------------------------------------------------

    def raw_copies(self, contents: Collection[str]) -> list[Path]:
        """Copies of raw files that held it: by their content, or because they mention it."""
        wanted = frozenset(contents)
        return [path for path in self._copies() if _sha256(path) in wanted or self._mentions(path)]

    def _copies(self) -> Iterator[Path]:
        landing = self.settings.landing_dir
        folders = [
            landing / ".done",
            landing / ".refused",
            self.settings.refused_dir,
            self.settings.state_dir / "drafts",
        ]
        for folder in folders:
            if folder.is_dir():
                yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())

    # -- training sets --------------------------------------------------------------------------------------------

    def training_sets(self) -> int:
        """Training sets there are, buried ones included."""
        return sum(1 for sets in self._tenants() for _ in self._manifests(sets))

    def remove_training_sets(self, held: Collection[tuple[str, str]], *, buried: bool = True) -> None:
        """Remove every set but those that a legal hold keeps, given as (tenant, key), with their files.

        `buried` says whether those that a run took out go, too.
        """
        for sets in self._tenants():
            kept = {key for tenant, key in held if tenant == sets.tenant}
            for path in list(self._manifests(sets)):
                if path.name not in kept and (buried or path.parent.name == "sets"):
                    path.unlink(missing_ok=True)
            if not kept:
                # What is being prepared now is not stored either. A set that is held would be cleaned up some day; the
                # order stays open, and this is done when it ends.
                sets.invalidate("all")
            sets.clean(safe_age_seconds=0.0, keep=kept, wait=True)

    def _tenants(self) -> list[TrainingSets]:
        root = Path(os.path.abspath(self.settings.training_sets_dir))
        names = [entry.name for entry in list_folder(root) if entry.is_dir()]
        return [TrainingSets(self.settings.model_copy(update={"tenant": name})) for name in sorted(names)]

    @staticmethod
    def _manifests(sets: TrainingSets) -> Iterator[Path]:
        for folder in (sets.root / "sets", *(Path(one.path) for one in list_folder(sets.root / "buried"))):
            yield from (Path(entry.path) for entry in list_folder(folder) if entry.is_file())

    # -- plans ----------------------------------------------------------------------------------------------------

    def plans(self) -> list[Path]:
        """Files of plans that name it."""
        folder = Path(self.settings.lake_root) / FOLDER
        if not self.settings.lake_is_local or not folder.is_dir():
            return []
        return [path for path in sorted(folder.iterdir()) if path.is_file() and self._mentions(path)]

    # -- looking through everything -------------------------------------------------------------------------------

    def mentions(self) -> list[str]:
        """Files under the lake's root and of the state folder that mention it, by their place, decoded where packed."""
        if not self.subject.can_be_mentioned:
            return []
        found = []
        state = self.settings.state_dir.absolute()
        folders = [state / "drafts", state / "refused", state / "spill"]
        if self.settings.lake_is_local:
            folders.append(Path(self.settings.lake_root).absolute())
        for folder in folders:
            found += [
                str(path.relative_to(folder.parent))
                for path in (sorted(folder.rglob("*")) if folder.is_dir() else ())
                if path.is_file()
                and not path.is_symlink()
                and not self._is_waiting(path)
                and (self._named(path, folder) or self._mentions(path))
            ]
        return found

    def _is_waiting(self, path: Path) -> bool:
        """Whether a file waits to be ingested: then its rows are kept out, and it goes."""
        landing = self.settings.landing_dir.absolute()
        return path.is_relative_to(landing) and not path.relative_to(landing).parts[0].startswith(".")

    def _named(self, path: Path, folder: Path) -> bool:
        return any(self.subject.mentioned_in(part.replace("=", " ")) for part in path.relative_to(folder).parts)

    def _mentions(self, path: Path) -> bool:
        try:
            if path.suffix == ".parquet":
                return self._in_parquet(path)
            return self._in_bytes(path)
        except FileNotFoundError:
            return False  # it went meanwhile

    def _in_bytes(self, path: Path) -> bool:
        needles = {self.subject.value.encode(), self.subject.value.encode("utf-16-le")}
        keep = max(map(len, needles)) + 4
        before = b""
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                text = (before + block).decode("utf-8", errors="replace")
                if self.subject.mentioned_in(text):
                    return True
                before = block[-keep:]
        return False

    def _in_parquet(self, path: Path) -> bool:
        try:
            file = pq.ParquetFile(path)
        except pa.ArrowInvalid:
            return self._in_bytes(path)
        with file:
            texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
            for batch in file.iter_batches(columns=texts) if texts else ():
                for column in batch.columns:
                    values = column.flatten() if pa.types.is_list(column.type) else column
                    hits = pc.match_substring(values.cast(pa.string()), self.subject.value, ignore_case=True)
                    chosen = values.filter(hits.fill_null(False)) if pc.any(hits).as_py() else []
                    if any(self.subject.mentioned_in(str(one.as_py())) for one in chosen):
                        return True
        return False


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _is_text(kind.value_type)
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
