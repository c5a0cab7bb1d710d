"""`retention policies …`: what the rules are, what is wrong with them, and editing them.

Thin: each command opens the registry, calls one method and prints.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from retention_pipelines.cli.simulate import policies_of, progress_bar
from retention_pipelines.cli.tables import fitting
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.planning import Planner, planner
from retention_pipelines.retention.policies.governed import GOVERNED, governed
from retention_pipelines.retention.policies.lint import lint
from retention_pipelines.retention.policies.policy import Policy, PolicySet, describe, tolerance_of
from retention_pipelines.retention.policies.registry import PolicyRegistry, differences
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.retention.simulation.simulate import simulate
from retention_pipelines.settings import Settings, load_settings

Identity = Annotated[str, typer.Argument(help="Policy, for example fs_low_quality.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_TOLERANCE_HELP = "COLUMN=NUMBER: by how much compressing may change its values; several times, or none."
_REPLAY_HELP = "Days of recorded reads to replay under the edit; 0: none."


@contextmanager
def _registry(settings: Settings | None = None) -> Iterator[PolicyRegistry]:
    settings = settings or load_settings()
    with open_server(settings) as server:
        engine = open_engine(server)
        try:
            registry = PolicyRegistry(engine)
            if settings.mode == "full":
                registry.load_defaults()
            yield registry
        finally:
            engine.dispose()


def _plain(policy: Policy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in policy.__slots__} | {"match": text(policy.match)}


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def list_policies(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.")] = None, as_json: AsJson = False
) -> None:
    """List the policies in force, by dataset and priority."""
    with _registry() as registry:
        found = registry.current(governed(dataset).name if dataset else None)
    if as_json:
        _print_json([_plain(policy) for policy in found])
        return
    for name, listed in groupby(found, key=lambda policy: policy.dataset):
        columns = ("priority", "policy", "match", "keep", "from", "action")
        table = fitting(*columns, whole=tuple(one for one in columns if one != "match"), title=name)
        for policy in listed:
            label = policy.policy_id if policy.enabled else f"{policy.policy_id} (off)"
            keep = _days(policy.keep_seconds)
            table.add_row(str(policy.priority), label, text(policy.match), keep, policy.anchor, policy.action)
        Console().print(table)


def show(policy: Identity, as_json: AsJson = False) -> None:
    """Show a policy, its reason and every version."""
    with _registry() as registry:
        versions = registry.history(policy)
    if as_json:
        _print_json(
            [
                _plain(one.policy)
                | {"created_by": one.created_by, "created_at": one.created_at, "superseded_at": one.superseded_at}
                for one in versions
            ]
        )
        return
    newest = versions[0].policy
    sys.stdout.write(f"{describe(newest)}\n{newest.dataset}, priority {newest.priority}. {newest.reason}\n\n")
    for one in versions:
        until = f" to {one.superseded_at:%Y-%m-%dT%H:%M:%SZ}" if one.superseded_at else ", in force"
        sys.stdout.write(f"v{one.policy.version} by {one.created_by} from {one.created_at:%Y-%m-%dT%H:%M:%SZ}{until}\n")


def set_policy(
    policy: Identity,
    keep_days: Annotated[int | None, typer.Option(help="Days to keep from the anchor.")] = None,
    match: Annotated[str | None, typer.Option(help="Filter of the rows it governs.")] = None,
    anchor: Annotated[str | None, typer.Option(help="computed_at, last_used or expires_at.")] = None,
    action: Annotated[
        str | None, typer.Option(help="delete, archive, compress, downsample or migrate; see docs/retention.md.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="The highest that matches governs a row.")] = None,
    grace_days: Annotated[int | None, typer.Option(help="Days in which what went can be brought back.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why this number, a sentence.")] = None,
    tolerance: Annotated[list[str] | None, typer.Option(help=_TOLERANCE_HELP)] = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
    replay_days: Annotated[int, typer.Option(help=_REPLAY_HELP, min=0, max=3650)] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Save without asking.")] = False,
) -> None:
    """Change a policy: show the difference and what it would delete, ask, then save the next version."""
    given = {
        "keep_days": keep_days,
        "match": match,
        "anchor": anchor,
        "action": action,
        "priority": priority,
        "grace_days": grace_days,
        "reason": reason,
        "tolerance": None if tolerance is None else _tolerance(policy, tolerance),
        "enabled": enabled,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise PolicyError("Nothing to change was given.", hint="For example: --keep-days 30 --reason 'Why.'")
    settings = load_settings()
    settings.require_full("Changing a policy")
    with planner(settings) as planning:
        before = planning.registry.get(policy)
        after = planning.registry.proposed(policy, changes)
        effect = planning.effect(after)
        for one in differences(before, after):
            sys.stdout.write(f"{one.field}: {one.before} -> {one.after}\n")
        sys.stdout.write(f"{effect.sentence()}\n")
        _replay(planning, (after,), replay_days)
        if not yes and not typer.confirm("Save it?"):
            raise typer.Exit(1)
        saved = planning.registry.set(after, created_by=who_am_i(), expected_version=before.version)
    sys.stdout.write(f"Saved {saved}.\n")


def _tolerance(policy: str, given: Sequence[str]) -> dict[str, object]:
    """`COLUMN=NUMBER` by column; of `none` an empty map."""
    found: dict[str, object] = {}
    for one in given:
        name, is_there, most = one.partition("=")
        if one == "none":
            continue
        try:
            found[name] = float(most) if is_there else None
        except ValueError:
            found[name] = most
    tolerance_of(policy, found)
    return found


def _replay(planning: Planner, edited: Sequence[Policy], days: int) -> None:
    """Say what edits of one dataset's policies would have done over the recorded reads."""
    if not days:
        return
    ids = {one.policy_id for one in edited}
    others = (one for one in planning.registry.current(edited[0].dataset) if one.policy_id not in ids)
    with progress_bar() as told:
        for found in simulate(planning, (*others, *edited), days=days, progress=told):
            sys.stdout.write(f"{found.sentence()}\n")


def load_policies(
    file: Annotated[Path, typer.Argument(help="YAML as in the packaged policies.yaml.", exists=True, dir_okay=False)],
    replay_days: Annotated[int, typer.Option(help=_REPLAY_HELP, min=0, max=3650)] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Save without asking.")] = False,
) -> None:
    """Save the policies of a file, all or none: new ones, and new versions of those that differ.

    What they would delete together is shown by dataset. Policies that the file does not name stay as they are.
    """
    wanted = policies_of(file)
    settings = load_settings()
    settings.require_full("Changing policies")
    with planner(settings) as planning:
        there = {one.policy_id: one for one in planning.registry.current()}
        changed = [
            one
            for one in wanted
            if one.policy_id not in there
            or one.dataset != there[one.policy_id].dataset
            or differences(there[one.policy_id], one)
        ]
        by_dataset: dict[str, list[Policy]] = {}
        for one in changed:
            by_dataset.setdefault(one.dataset, []).append(one)
        for edited in by_dataset.values():
            sys.stdout.write("".join(f"{describe(one)}\n" for one in edited))
            sys.stdout.write(f"{planning.effect(*edited).sentence()}\n")
            _replay(planning, edited, replay_days)
        if not changed:
            sys.stdout.write("All of it is in force already.\n")
            return
        if not yes and not typer.confirm("Save all of it?" if len(changed) > 1 else "Save it?"):
            raise typer.Exit(1)
        versions = {one.policy_id: there[one.policy_id].version if one.policy_id in there else 0 for one in changed}
        saved = planning.registry.set_all(changed, created_by=who_am_i(), expected_versions=versions)
    for one in saved:
        sys.stdout.write(f"Saved {one}.\n")


def lint_policies(as_json: AsJson = False) -> None:
    """Say what is wrong or surprising in the policies of every dataset; exit code 1 on an error."""
    with _registry() as registry:
        policies = registry.current()
    found = [
        (name, finding) for name, dataset in GOVERNED.items() for finding in lint(dataset, PolicySet.of(name, policies))
    ]
    if as_json:
        _print_json(
            [
                {"dataset": name, "severity": one.severity, "code": one.code, "message": one.message, "row": one.row}
                for name, one in found
            ]
        )
    else:
        for name, one in found:
            sys.stdout.write(f"{one.severity}: {name}: {one.message}\n")
        if not found:
            sys.stdout.write("No errors and no warnings.\n")
    if any(one.severity == "error" for _, one in found):
        raise typer.Exit(1)


def diff(
    policy: Identity,
    before: Annotated[int, typer.Argument(help="Version to start from.")],
    after: Annotated[int | None, typer.Argument(help="Version to end at; the one in force by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say in what two versions of a policy differ."""
    with _registry() as registry:
        found = differences(registry.get(policy, before), registry.get(policy, after))
    if as_json:
        _print_json([{"field": one.field, "before": one.before, "after": one.after} for one in found])
        return
    for one in found:
        sys.stdout.write(f"{one.field}: {one.before} -> {one.after}\n")
    if not found:
        sys.stdout.write("They are the same.\n")


def _days(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    return f"{days:,} d" if not rest else f"{seconds:,} s"
