"""Coherence: which answers a process must not keep, because what they rest on was invalidated meanwhile.

What belongs here: the invalidations this process applied lately, and whether one of them names an answer whose
computation began before it. What does not: how invalidations travel (`invalidation.py`).
"""

import threading
from collections import deque
from dataclasses import dataclass

from retention_pipelines.cache.entry import Invalidation

_REMEMBERED = 4_096


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Everything an answer can be invalidated by."""

    key: str
    function: str
    tags: tuple[str, ...] = ()
    model_id: str = ""
    model_version: str = ""
    source: str = ""

    def hit_by(self, scope: str, target: str | None, version: str | None) -> bool:
        """Whether an invalidation names this answer; a model's new version leaves answers of that version alone."""
        match scope:
            case "all":
                return True
            case "key":
                return target == self.key
            case "function":
                return target == self.function
            case "tag":
                return target in self.tags
            case "source":
                # A table, or a study, which is known only where the entry's row is written: in doubt it is this one's.
                return bool(self.source)
            case "model":
                return target == self.model_id and (version is None or version != self.model_version)
            case _:
                return True


class Recent:
    """Invalidations applied in this process, numbered from 1; the newest 4,096 are remembered."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.applied = 0
        self._recent: deque[tuple[str, str | None, str | None]] = deque(maxlen=_REMEMBERED)

    def note(self, scope: str, target: str | None, version: str | None = None) -> None:
        """Remember one; hold `lock` over this and the removal from memory."""
        with self.lock:
            self.applied += 1
            self._recent.append((scope, target, version))

    def touched(self, since: int, names: Names) -> bool:
        """Whether an invalidation after number `since` names the answer, or too many came to tell."""
        with self.lock:
            news = self.applied - since
            if news == 0:
                return False
            if news > len(self._recent):
                return True
            latest = list(self._recent)[-news:]
        return any(names.hit_by(scope, target, version) for scope, target, version in latest)


def of(invalidation: Invalidation) -> tuple[str, str | None, str | None]:
    """What an invalidation names, as `Recent.note` takes it."""
    return invalidation.scope, invalidation.target, invalidation.version
