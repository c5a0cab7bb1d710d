"""The files of training sets: of those a run took out, whose rows lie in the graveyard, and of those it compresses.

Rows go first: they name the files, so a crash in between is made good by doing it again. What does not belong here:
the rows (`act_postgres.py`), what a set's files are (`cache/training`).
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine, func, select, update

from retention_pipelines.cache.training import burial
from retention_pipelines.cache.training.files import PACKED, locked, write_whole
from retention_pipelines.cache.training.store import TrainingSets, content_sha256
from retention_pipelines.postgres.tables import GRAVEYARD, ML_TRAINING_CACHE
from retention_pipelines.retention.act_postgres import Act, still_expired
from retention_pipelines.retention.cold import Cold
from retention_pipelines.retention.graveyard import name_of
from retention_pipelines.settings import Settings

RELATION = "ml_training_cache"


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What compressing sets did; `plain` are those that would not have become smaller."""

    sets: int
    before: int
    after: int
    plain: int


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


def copy_files(cold: Cold, settings: Settings, step: Callable[[str], None]) -> int:
    """Copy the buried sets of a plan to the archive, each file compressed; returns how many sets."""
    known = {file.name for file in cold.files()}
    copied = 0
    for tenant, key, _ in _buried_rows(cold.engine, cold.plan_sha256):
        sets = _sets(settings, tenant)
        grave = sets.root / "buried" / cold.plan_sha256
        manifest = sets.manifest(key, folder=grave)
        if manifest is None:
            continue  # it was prepared anew; only its old row went
        row_id, folder = json.dumps([tenant, key]), f"{cold.dataset.name}/{cold.plan_sha256[:16]}/{tenant}/{key}"
        for file in manifest.files:
            name = f"{folder}/{file.name}{PACKED}"
            if name not in known:
                cold.put(name, sets.folder.packed(file), row_id=row_id, rows=0, raw_bytes=file.size)
            step("archiving")
        content = (grave / key).read_bytes()
        if f"{folder}/{key}.set" not in known:
            cold.put(f"{folder}/{key}.set", content, row_id=row_id, rows=0, raw_bytes=len(content))
        copied += 1
        step("archiving")
    return copied


def unpack_files(cold: Cold, settings: Settings, row_ids: Collection[str]) -> int:
    """Put archived sets back as they were, except those that were prepared anew; returns how many."""
    found = 0
    for file in sorted(cold.files(), key=lambda one: one.name.endswith(".set")):
        if file.row_id is None or file.row_id not in row_ids:
            continue
        tenant, key = name_of(file.row_id)
        sets = _sets(settings, str(tenant))
        with locked(sets.root / "lock", shared=True):
            if not file.name.endswith(".set"):
                sets.folder.take_in(file.name.rpartition("/")[2], cold.read(file))
            elif not (sets.root / "sets" / str(key)).exists():
                write_whole(sets.root / "sets" / str(key), cold.read(file))
                found += 1
    return found


def compress_files(engine: Engine, settings: Settings, act: Act, step: Callable[[str], None]) -> Compressed:
    """Compress the files of the sets that a plan names and that still are due; nothing is taken out."""
    sets_done = before = after = plain = 0
    with engine.connect() as con:
        due = still_expired(con, act, np.arange(act.plan.rows.num_rows)) if act.plan.rows.num_rows else ()
    ids = act.plan.rows["row_id"].to_pylist()
    for tenant, key in (name_of(ids[row.position]) for row in due):
        sets = _sets(settings, str(tenant))
        with locked(sets.root / "lock", wait=False) as alone:
            manifest = sets.manifest(str(key)) if alone else None
            if manifest is None:
                continue
            bytes_now = sum(sets.folder.compress(file) for file in manifest.files)
        with engine.begin() as con:
            con.execute(
                update(ML_TRAINING_CACHE)
                .where(
                    ML_TRAINING_CACHE.c.tenant == tenant,
                    ML_TRAINING_CACHE.c.cache_key == key,
                    ML_TRAINING_CACHE.c.content_sha256 == content_sha256(manifest),
                )
                .values(compressed_at=func.now(), stored_bytes=bytes_now)
            )
        sets_done, before, after = sets_done + 1, before + manifest.size_bytes, after + bytes_now
        plain += bytes_now >= manifest.size_bytes
        step("compressing")
    return Compressed(sets=sets_done, before=before, after=after, plain=plain)


def expand_files(engine: Engine, settings: Settings, rows: Iterable[str]) -> int:
    """Put plain files back in place of compressed ones; returns of how many sets."""
    found = 0
    for tenant, key in map(name_of, rows):
        sets = _sets(settings, str(tenant))
        with locked(sets.root / "lock", shared=True):
            manifest = sets.manifest(str(key))
            for file in manifest.files if manifest else ():
                sets.folder.expand(file)
        with engine.begin() as con:
            con.execute(
                update(ML_TRAINING_CACHE)
                .where(ML_TRAINING_CACHE.c.tenant == tenant, ML_TRAINING_CACHE.c.cache_key == key)
                .values(compressed_at=None, stored_bytes=None)
            )
        found += manifest is not None
    return found


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


__all__ = [
    "Compressed",
    "bury_files",
    "compress_files",
    "copy_files",
    "dig_up_files",
    "expand_files",
    "forget_files",
    "name_of",
    "unpack_files",
]
