"""The command reference `docs/cli.md`, written from the commands themselves so that it cannot go stale.

`make docs` writes it and a test compares it. What belongs here: turning help texts into a page. What does not: any
text about a command; that is its docstring.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from retention_pipelines.cli.app import build_app

_HEAD = """# Commands

Every command of `retention`; after `make demo` or `make test` it is `.venv/bin/retention`. Written by `make docs` from
the commands themselves. Settings are environment variables: [settings.md](settings.md).

Exit codes: 0 done; 2 a mistake in the input, told on stderr with what to do next. Others are told with the command.
With `--json`, what went wrong is printed as an object too: `state` (`mistake`, `refused`, `busy`), `reason`, `hint`.
"""


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command.load() if hasattr(command, "load") else command
        return
    for name, child in children.items():
        yield from _leaves(child, (*path, name))


def _option(parameter: Any) -> str:
    names = " ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    help_text = re.sub(r"\s+", " ", getattr(parameter, "help", None) or "").strip()
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.name or '').upper()}`"
    default = parameter.default
    shown = default not in (None, False, (), []) and not callable(default) and not parameter.required
    return f"| {names} | {help_text}{f' Default: `{default}`.' if shown else ''} |".replace("\n", " ")


def reference() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for path, command in _leaves(build_app(), ("retention",)):
        parts.append(f"## `{' '.join(path)}`\n\n{inspect.cleandoc(command.help or '').strip()}\n")
        rows = [_option(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            parts.append("| | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
