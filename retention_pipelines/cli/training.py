"""`retention training …`: looking after the files of cached training sets.

What belongs here: arguments and words. The work is in `retention_pipelines.cache.training`.
"""

import json
from typing import Annotated

import typer

from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.retention.actions.act_training import clean_sets
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def verify(as_json: AsJson = False) -> None:
    """Read every cached training set in full. Exit code 1: some are damaged; they are named."""
    damaged = TrainingSets(load_settings()).verify()
    if as_json:
        typer.echo(json.dumps(damaged))
    else:
        typer.echo("\n".join(damaged) or "Every training set holds what was written.")
    if damaged:
        raise typer.Exit(1)


def clean(as_json: AsJson = False) -> None:
    """Free the space of training sets that may not be used any more; what is younger than a day stays."""
    freed = clean_sets(load_settings())
    said = "Nothing was freed: a legal hold on training_cache is open." if freed is None else f"{freed} bytes freed."
    typer.echo(json.dumps(freed) if as_json else said)
