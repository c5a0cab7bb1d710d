"""Waiting: targets in modules nobody has imported yet are patched when somebody does.

What belongs here: noticing an import. What does not: patching. Importing a platform's module ourselves would run it
before its own program is ready, so it is not done unless a target says `load: true`.
"""

import importlib.abc
import importlib.machinery
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

LOG = logging.getLogger(__name__)
Imported = Callable[[str], None]


class Watcher(importlib.abc.MetaPathFinder):
    """Calls `imported` with the name of each watched module after its code has run."""

    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._names: set[str] = set()
        self._finding = threading.local()

    def watch(self, names: Iterable[str]) -> None:
        """Watch these from now on, in place of those before; none: stop."""
        self._names = set(names)
        if self._names and self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        elif not self._names and self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the other finders find, with a loader that tells us."""
        if fullname not in self._names or getattr(self._finding, "now", False):
            return None
        self._finding.now = True
        try:
            for finder in list(sys.meta_path):
                if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                    if spec.loader is not None:
                        spec.loader = _Telling(spec.loader, self._tell)  # type: ignore[assignment]
                    return spec
            return None
        finally:
            self._finding.now = False

    def _tell(self, name: str) -> None:
        try:
            self._imported(name)
        except Exception:
            LOG.exception("The targets in %s could not be patched; its import goes on", name)


class _Telling:
    """A loader that tells when it is done; the module gets the real loader before its code runs."""

    def __init__(self, loader: importlib.abc.Loader, tell: Callable[[str], None]) -> None:
        self._loader = loader
        self._tell = tell

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._tell(module.__name__)
