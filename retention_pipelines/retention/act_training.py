"""The files of training sets that a run took out of `ml_training_cache`: their rows lie in the graveyard meanwhile.

Rows go first: they name the files, so a crash in between is made good by doing it again. What does not belong here:
the rows (`act_postgres.py`), what a set's files are (`cache/training`).
"""

from collections.abc import Callable, Collection, Iterator

from sqlalchemy import Engine, select

from retention_pipelines.cache.training import burial
from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.postgres.tables import GRAVEYARD
from retention_pipelines.retention.graveyard import name_of
from retention_pipelines.settings import Settings

RELATION = "ml_training_cache"


def bury_files(engine: Engine, settings: Settings, plan_sha256: str, step: Callable[[str], None]) -> int:
    """Take out the sets whose rows a plan removed; one that was prepared anew since stays. Returns how many."""
    gone = 0
    for tenant, key, content in _buried_rows(engine, plan_sha256):
        gone += burial.bury(_sets(settings, tenant), key, plan=plan_sha256, content_sha256=content)
        step("burying files")
    return gone


def dig_up_files(engine: Engine, settings: Settings, plan_sha256: str, ids: Collection[str] | None) -> int:
    """Put the sets of a plan back, before their rows are; with `ids` only these. Returns how many."""
    return sum(
        burial.dig_up(_sets(settings, tenant), key, plan=plan_sha256)
        for tenant, key, _ in _buried_rows(engine, plan_sha256, ids)
    )


def forget_files(settings: Settings, plan_sha256: str) -> int:
    """Let go of a plan's sets of every tenant for good; returns the bytes that were freed.

    Files younger than a day stay until a later cleaning: somebody may be about to use them.
    """
    root = TrainingSets(settings).root.parent
    tenants = [folder.name for folder in root.iterdir() if (folder / "buried").is_dir()] if root.is_dir() else []
    return sum(burial.forget(_sets(settings, tenant), plan=plan_sha256) for tenant in tenants)


def _buried_rows(
    engine: Engine, plan_sha256: str, ids: Collection[str] | None = None
) -> Iterator[tuple[str, str, bytes]]:
    query = select(GRAVEYARD.c.row_id, GRAVEYARD.c.row["content_sha256"].astext).where(
        GRAVEYARD.c.plan_sha256 == plan_sha256, GRAVEYARD.c.relation == RELATION
    )
    if ids is not None:
        query = query.where(GRAVEYARD.c.row_id.in_(list(ids)))
    with engine.connect() as con:
        rows = con.execute(query.order_by(GRAVEYARD.c.position)).all()
    for row_id, content in rows:
        tenant, key = name_of(row_id)
        yield str(tenant), str(key), bytes.fromhex(str(content).removeprefix("\\x"))


def _sets(settings: Settings, tenant: str) -> TrainingSets:
    return TrainingSets(settings.model_copy(update={"tenant": tenant}))


__all__ = ["bury_files", "dig_up_files", "forget_files", "name_of"]
