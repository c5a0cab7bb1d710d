"""`retention erase`: erasing a study, taxon, contributor or dataset from every tier, with a preview and a certificate.

Thin: the command opens the stores, calls one function and prints. Words come first, because what is typed here cannot
be taken back.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.erasure.eraser import Eraser, Preview, eraser
from retention_pipelines.retention.erasure.orders import Certificate
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def _erasing() -> Iterator[Eraser]:
    console = Console(stderr=True)
    with (
        console.status("Erasing") as status,
        eraser(load_settings(), step=lambda name: status.update(f"Erasing: {name}")) as opened,
    ):
        yield opened


def erase(
    kind: Annotated[str | None, typer.Argument(help="study, taxon, contributor or dataset.")] = None,
    value: Annotated[str | None, typer.Argument(help="Its name; of a study DATASET/EVENT.")] = None,
    reason: Annotated[str, typer.Option(help="Why, a sentence that does not name it.")] = "",
    confirm: Annotated[
        str | None, typer.Option(help="Hash of a preview: carry it out, or go on where it ended. There is no undo.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Only preview, which is all that happens without --confirm anyway.")
    ] = False,
    certificate: Annotated[int | None, typer.Option(help="Print the certificate of an order.")] = None,
    every: Annotated[bool, typer.Option("--list", help="List all orders.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a subject from every tier: first a preview, then --confirm with its hash. There is no undo.

    Exit codes: 0 done, or previewed; 2 a mistake; 3 the order is open, because a legal hold keeps rows or something is
    left; 4 a run has a dataset in hand.
    """
    asked = [kind is not None or value is not None, confirm is not None, certificate is not None, every]
    if sum(asked) != 1 or (plan_only and confirm is not None):
        raise PolicyError(
            "Say what to do.", hint="erase KIND VALUE --reason WHY, or --confirm HASH, --certificate N, --list."
        )
    with _erasing() as opened:
        if confirm is not None:
            found = opened.confirm(confirm, actor=who_am_i())
            _tell([found], as_json)
            if found.state != "done":
                raise typer.Exit(3)
        elif certificate is not None:
            _tell([opened.certificate(certificate)], as_json)
        elif every:
            _tell([*opened.orders()], as_json)
        elif kind is None or value is None:
            raise PolicyError("Say what to erase.", hint="erase KIND VALUE --reason WHY.")
        else:
            _show(opened.preview(kind, value, reason=reason), as_json)


def _show(preview: Preview, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(preview), indent=1) + "\n")
        return
    if any(preview.counts.values()):
        Console().print(_counts({"rows and files": preview.counts, "held": preview.held}))
    else:
        sys.stdout.write(f"There is nothing of this {preview.kind}. Confirmed, it is kept from coming in.\n")
    sys.stdout.write("With it goes, although it is not about this subject, whatever no legal hold keeps:\n")
    sys.stdout.writelines(f"  - {one}\n" for one in preview.also)
    sys.stdout.write(
        f"Nothing was erased yet. This cannot be taken back:\nretention erase --confirm {preview.sha256}\n"
    )


def _counts(columns: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table("tier", *columns)
    tiers = dict.fromkeys(tier for counts in columns.values() for tier, n in counts.items() if n)
    for tier in tiers:
        table.add_row(tier, *(f"{counts.get(tier, 0):,}" for counts in columns.values()))
    return table


def _tell(found: list[Certificate], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1, default=str) + "\n")
        return
    if not found:
        sys.stdout.write("There are no erasure orders.\n")
    for one in found:
        ended = f", finished {one.finished_at:%Y-%m-%d %H:%M:%S} UTC" if one.finished_at else ""
        state = "done" if one.state == "done" else "open"
        said = [
            f"Erasure order {one.order} ({one.kind}) is {state}{ended}.",
            f"  subject      {one.subject_digest} (keyed digest)",
            f"  reason       {one.reason}",
            f"  ordered      by {one.ordered_by}, {one.ordered_at:%Y-%m-%d %H:%M:%S} UTC",
            f"  certificate  {one.sha256 or 'none yet'}",
        ]
        sys.stdout.write("\n".join(said) + "\n")
        columns = {"before": one.before, "after": one.after, "held": one.held}
        Console().print(_counts(columns | ({"left": one.left} if one.left else {})))
        if one.not_reached:
            sys.stdout.write("Not reached, here or by any order:\n")
            sys.stdout.writelines(f"  - {place}\n" for place in one.not_reached)
        if state == "open":
            sys.stdout.write(
                "What is held or left stays until it can go; then confirm the same hash again:\n"
                f"retention erase --confirm {one.plan}\n"
            )
