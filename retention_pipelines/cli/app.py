"""The command `retention`: its table of commands, loaded one at a time.

What belongs here: names, one line of help each, and how errors leave the program. What does not: what a command
does; that is a plain function with typer annotations in its own module, imported only when it is called, so that
`retention --help` is instant. A RetentionError is a sentence on stderr and exit code 2, or one of its own; the rest is
a bug and traces.
"""

import contextlib
import errno
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from retention_pipelines.errors import RetentionError, RunBusy, RunRefused

_CLI = "retention_pipelines.cli"
_EXIT_CODES: Mapping[type[RetentionError], int] = {RunRefused: 3, RunBusy: 4}
# Command: (module:function, help). A group is a help line and its own table.
Commands = Mapping[str, tuple[str, str]]
_COMMANDS: Commands = {
    "ingest": (f"{_CLI}.ingest:ingest", "Read raw files into the lake; every row is accounted for."),
    "materialize": (f"{_CLI}.materialize:materialize", "Compute features and series with Dagster, in one process."),
    "query": (f"{_CLI}.query:query", "Run SQL over every dataset and print or save the result."),
    "up": (f"{_CLI}.up:up", "Start Postgres, the Dagster daemon and its web page on this machine."),
    "doctor": (f"{_CLI}.doctor:doctor", "Say what is in use, what is missing, and what to do about it."),
    "plan": (f"{_CLI}.plan:plan", "Say what the retention policies would remove now, and why; nothing is removed."),
    "explain": (f"{_CLI}.plan:explain", "Say why a row is kept or goes, and what would change that."),
    "simulate": (f"{_CLI}.simulate:simulate", "Replay the recorded reads under other policies; nothing is changed."),
    "run": (f"{_CLI}.run:run", "Execute a plan, or plan and execute a policy."),
    "sweep": (f"{_CLI}.run:sweep", "Let go for good of what runs removed, where the grace is over."),
    "pressure": (f"{_CLI}.pressure:pressure", "Say how short storage is, and what would go early because of it."),
    "restore": (f"{_CLI}.run:restore", "Bring back what a run removed, while its grace lasts."),
    "history": (f"{_CLI}.run:history", "List plans and what became of each."),
    "archived": (f"{_CLI}.archived:archived", "List archived rows of Postgres and training sets."),
    "regrets": (f"{_CLI}.regrets:regrets", "Say what policies let go that was asked for again."),
    "hold": (f"{_CLI}.holds:hold", "Keep what matches until it is released."),
    "release": (f"{_CLI}.holds:release", "End a hold."),
    "holds": (f"{_CLI}.holds:holds", "List the holds in force."),
    "erase": (f"{_CLI}.erase:erase", "Erase a study, taxon, contributor or dataset from every tier."),
    "pin": (f"{_CLI}.holds:pin", "Keep what matches until a date or until it is unpinned."),
    "unpin": (f"{_CLI}.holds:unpin", "Take a pin away."),
    "pins": (f"{_CLI}.holds:pins", "List the pins in force."),
    "demo": (f"{_CLI}.demo:demo", "Show the whole way on simulated data, or on real files with --data."),
}
_GROUPS: Mapping[str, tuple[str, Commands]] = {
    "mappings": (
        "Descriptions of delimited files.",
        {
            "list": (f"{_CLI}.ingest:list_mappings", "List the packaged mappings."),
            "show": (f"{_CLI}.ingest:show_mapping", "Print a mapping."),
            "draft": (f"{_CLI}.ingest:draft_mapping", "Draft a mapping for a file, to edit."),
        },
    ),
    "lake": (
        "Look after the lake: size, history, undo, compact, vacuum, archive.",
        {
            "size": (f"{_CLI}.lake:size", "Rows, files and bytes of every dataset."),
            "files": (f"{_CLI}.lake:files", "Live files of a dataset."),
            "history": (f"{_CLI}.lake:history", "Commits of a dataset, newest first."),
            "publish": (f"{_CLI}.lake:publish", "Show the current state of every dataset to readers."),
            "undo": (f"{_CLI}.lake:undo", "Take back one commit and keep what came after it."),
            "restore": (f"{_CLI}.lake:restore", "Go back to an earlier version of a dataset."),
            "compact": (f"{_CLI}.lake:compact", "Merge small files."),
            "archive": (f"{_CLI}.lake:archive", "Move rows of a dataset into its archive."),
            "vacuum": (f"{_CLI}.lake:vacuum", "Free the space of files that no version of the last 7 days needs."),
        },
    ),
    "policies": (
        "Retention policies: what is kept, for how long, and why.",
        {
            "list": (f"{_CLI}.policies:list_policies", "List the policies in force."),
            "show": (f"{_CLI}.policies:show", "Show a policy, its reason and every version."),
            "set": (f"{_CLI}.policies:set_policy", "Change a policy; its effect is shown first."),
            "load": (
                f"{_CLI}.policies:load_policies",
                "Save the policies of a file; each effect is shown first.",
            ),
            "lint": (f"{_CLI}.policies:lint_policies", "Say what is wrong or surprising in the policies."),
            "diff": (f"{_CLI}.policies:diff", "Say in what two versions of a policy differ."),
        },
    ),
    "models": (
        "Models, what they need kept, and until when.",
        {
            "list": (f"{_CLI}.models:list_models", "List every version of every model."),
            "register": (f"{_CLI}.models:register", "Register a version, and what it needs."),
            "retire": (f"{_CLI}.models:retire", "End a model's life; its window begins."),
            "roots": (f"{_CLI}.models:roots", "List what models need kept."),
        },
    ),
    "budgets": (
        "How many bytes a dataset may take before pressure acts on it.",
        {
            "list": (f"{_CLI}.pressure:list_budgets", "List datasets with their sizes and budgets."),
            "set": (f"{_CLI}.pressure:set_size_budget", "Set or remove the budget of a dataset."),
        },
    ),
    "audit": (
        "What was done, by whom, in a chain of hashes.",
        {"verify": (f"{_CLI}.holds:verify", "Recompute the whole chain.")},
    ),
    "online": (
        "Hot rows of the feature store, for reads of single studies.",
        {
            "load": (f"{_CLI}.online:load", "Bring the hot rows to the newest state of the lake."),
            "status": (f"{_CLI}.online:status", "Say which state of the lake the hot rows hold."),
        },
    ),
    "queue": (
        "Work that waits to be done behind.",
        {
            "add": (f"{_CLI}.queue:add", "Ask for the features of studies and for the series they enter."),
            "work": (f"{_CLI}.queue:work", "Do the work that is due."),
            "list": (f"{_CLI}.queue:jobs", "List jobs, newest first; of those that failed, why."),
            "retry": (f"{_CLI}.queue:retry", "Let dead jobs wait again."),
        },
    ),
    "training": (
        "Files of cached training sets.",
        {
            "verify": (f"{_CLI}.training:verify", "Read every set in full and name those that are damaged."),
            "clean": (f"{_CLI}.training:clean", "Free the space of sets that may not be used any more."),
        },
    ),
    "db": (
        "The Postgres database.",
        {
            "upgrade": (f"{_CLI}.db:upgrade", "Bring the tables to the newest state."),
            "downgrade": (f"{_CLI}.db:downgrade", "Go back to an older state of the tables."),
            "current": (f"{_CLI}.db:current", "Say which state the tables are in."),
        },
    ),
}


class _Unloaded(TyperCommand):
    """A command's name and help; `load` imports the function behind it."""

    def __init__(self, name: str, target: str, help_line: str) -> None:
        super().__init__(name, callback=None, help=help_line)
        self.target = target

    def load(self) -> Any:
        module, _, function = self.target.partition(":")
        single = typer.Typer(add_completion=False)
        single.command(self.name)(getattr(importlib.import_module(module), function))
        return get_command(single)


class _LazyGroup(TyperGroup):
    """A group that imports a command when it is called, not when it is listed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _Unloaded) else command, rest


def command_names() -> tuple[str, ...]:
    """Every command as typed after `retention`."""
    nested = (f"{group} {name}" for group, (_, commands) in _GROUPS.items() for name in commands)
    return (*_COMMANDS, *nested)


def _group(name: str, help_line: str, commands: Commands) -> _LazyGroup:
    members: dict[str, Any] = {key: _Unloaded(key, target, line) for key, (target, line) in commands.items()}
    return _LazyGroup(name=name, help=help_line, commands=members, no_args_is_help=True)


def build_app() -> TyperGroup:
    """The root command with everything below it."""
    root = _group("retention", "Marine biodiversity data in; a feature store and time series out.", _COMMANDS)
    for name, (help_line, commands) in _GROUPS.items():
        root.add_command(_group(name, help_line, commands))
    return root


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit; `arguments` default to those of the process."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        build_app().main(args=arguments, prog_name="retention")
    except SystemExit as ended:
        # What was typed wrong was told to people before it ended.
        mistyped = getattr(ended.__context__, "format_message", None)
        if mistyped is not None and as_json:
            _print_for_machines(RetentionError(mistyped(), hint="With --help instead, the command says what it takes."))
        raise
    except RetentionError as error:
        failed = error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        failed = RetentionError(
            f"No space left for {error.filename or 'the output'}.", hint="Free some, then run it again."
        )
    sys.stderr.write(f"Error: {failed.message}\n")
    if failed.hint:
        sys.stderr.write(f"{failed.hint}\n")
    if as_json:
        _print_for_machines(failed)
    sys.exit(_EXIT_CODES.get(type(failed), 2))


def _print_for_machines(error: RetentionError) -> None:
    with contextlib.suppress(OSError):  # the output may be what has no space
        sys.stdout.write(json.dumps(_for_machines(error), indent=1) + "\n")
        sys.stdout.flush()


def _for_machines(error: RetentionError) -> dict[str, Any]:
    """What went wrong, for whoever reads only what is printed as JSON."""
    state = {RunRefused: "refused", RunBusy: "busy"}.get(type(error), "mistake")
    told: dict[str, Any] = {"state": state, "reason": error.message, "hint": error.hint}
    if isinstance(error, RunRefused):
        told |= {"plan_sha256": error.plan_sha256, "can_confirm": error.can_confirm}
    return told


if __name__ == "__main__":
    main()
