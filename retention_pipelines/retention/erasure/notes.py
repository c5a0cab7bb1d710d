"""What the hash of a preview stands for: the subject's name, on this machine only, until its order is done.

What belongs here: writing, reading and forgetting these notes, readable by their owner only. What does not: the orders
themselves (`orders.py`), which know keyed digests.
"""

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retention_pipelines.errors import PlanError

FOLDER = "erasures"
_KEPT_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Notes below the state folder, one file for each preview."""

    state_dir: Path

    def write(self, sha256: str, noted: Mapping[str, str]) -> None:
        """Note what a hash stands for, and wait until the disk has it."""
        path = self._place(sha256)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(dict(noted), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())

    def read(self, sha256: str) -> dict[str, str]:
        """What a hash stands for; raises PlanError where this machine does not know it."""
        try:
            found = json.loads(self._place(sha256).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanError(
                "This machine knows no preview of that hash.",
                hint="Confirm where it was previewed, or preview it here.",
            ) from None
        return {key: str(value) for key, value in found.items()}

    def forget(self, goes: Callable[[Mapping[str, str]], bool]) -> None:
        """Remove notes of previews; a damaged one says nothing and goes, too."""
        for path in self._all():
            try:
                noted = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                noted = None
            except FileNotFoundError:
                continue
            if noted is None or goes(noted):
                path.unlink(missing_ok=True)

    def forget_old(self, needed: Collection[str]) -> None:
        """Remove notes of previews that nobody confirmed for a week, but for the hashes that are needed."""
        for path in self._all():
            if path.stem not in needed and time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink(missing_ok=True)

    def _all(self) -> Iterator[Path]:
        return iter(sorted((self.state_dir / FOLDER).glob("*.json")))

    def _place(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise PlanError(f"{sha256!r} is no hash of a preview.", hint="Give all 64 characters of it.")
        return self.state_dir / FOLDER / f"{sha256}.json"
