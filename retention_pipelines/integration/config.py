"""Configuration: the list of targets, from a YAML file or the packaged one.

What belongs here: reading, the names of modules, messages that point at the line. What does not: what a target means
(`targets.py`).
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.targets import Target

Modules = Mapping[str, str | Sequence[str]]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KEYS = {"modules", "targets", "packaged"}


@dataclass(frozen=True, kw_only=True)
class TargetList:
    """The targets, one per module they are looked for in, and where the list comes from."""

    targets: tuple[Target, ...]
    source: str


def packaged_targets(modules: Modules | None = None) -> TargetList:
    """The packaged list; `modules` says where a platform keeps things, such as `{"models": "my.models"}`."""
    text = resources.files(__package__).joinpath("targets.yaml").read_text(encoding="utf-8")
    return _parse(text, "the packaged targets", modules)


def load_targets(file: Path | None, modules: Modules | None = None) -> TargetList:
    """The list in `file`, or the packaged one. A list that says `packaged: true` adds to the packaged one.

    Raises IntegrationError that says which entry is wrong, and why.
    """
    if file is None:
        return packaged_targets(modules)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrationError(f"{file} cannot be read: {error}.", hint="Set RETENTION_INTEGRATION_FILE.") from error
    return _parse(text, str(file), modules)


def _parse(text: str, source: str, modules: Modules | None) -> TargetList:
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise IntegrationError(f"{source} is no YAML: {error}.", hint="docs/integration.md shows one.") from error
    if not isinstance(document, dict) or set(document) - _KEYS:
        unknown = ", ".join(sorted(map(str, set(document) - _KEYS))) if isinstance(document, dict) else "a list"
        raise IntegrationError(f"{source}: {unknown} at the top.", hint=f"There may be: {', '.join(sorted(_KEYS))}.")
    places: dict[str, Any] = {**(document.get("modules") or {}), **(modules or {})}
    targets: list[Target] = []
    for number, entry in enumerate(document.get("targets") or (), start=1):
        target = parsed(entry, f"{source}, target {number}")
        targets += _expanded(target, places, f"{source}, target {number}")
    if document.get("packaged"):
        own = {target.target for target in targets}
        targets += [target for target in packaged_targets(places).targets if target.target not in own]
    return TargetList(targets=tuple(targets), source=source)


def parsed(entry: object, place: str) -> Target:
    """A target from its keys; raises IntegrationError that says which one is wrong."""
    try:
        return Target.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise IntegrationError(
            f"{place}{f', {where}' if where else ''}: {first['msg']}.", hint="docs/integration.md lists the keys."
        ) from None


def _expanded(target: Target, places: Mapping[str, Any], where: str) -> list[Target]:
    names = _PLACEHOLDER.findall(target.target)
    choices = []
    for name in names:
        if name not in places:
            raise IntegrationError(
                f"{where}: {{{name}}} is not under `modules`.", hint=f"There is: {', '.join(places) or 'nothing'}."
            )
        found = places[name]
        choices.append([found] if isinstance(found, str) else list(found))
    expanded = []
    for combination in itertools.product(*choices):
        text = target.target
        for name, module in zip(names, combination, strict=True):
            text = text.replace(f"{{{name}}}", module, 1)
        expanded.append(target.model_copy(update={"target": text}))
    return expanded
