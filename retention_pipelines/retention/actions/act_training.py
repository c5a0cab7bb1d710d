"""The files of training sets: of those a run took out, whose rows lie in the graveyard, and of those it compresses.

Rows go first: they name the files, so a crash in between is made good by doing it again. What does not belong here:
the rows (`act_postgres.py`), what a set's files are (`cache/training`).
"""

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Engine, Text, cast, exists, func, select, update

from retention_pipelines.cache.training import burial
from retention_pipelines.cache.training.durable import locked, write_whole
from retention_pipelines.cache.training.files import PACKED
from retention_pipelines.cache.training.manifest import open_manifest
from retention_pipelines.cache.training.store import TrainingSets, content_sha256
from retention_pipelines.errors import CorruptEntry, PlanError
from retention_pipelines.postgres import embedded
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.postgres.tables import GRAVES, HOLDS, ML_TRAINING_CACHE, PLANS
from retention_pipelines.retention.actions.cold import Cold, ColdFile
from retention_pipelines.retention.actions.due_postgres import Act, still_due
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.policies.governed import TRAINING_CACHE
from retention_pipelines.retention.recovery.graveyard import name_of
from retention_pipelines.settings import Settings

LOG = logging.getLogger(__name__)
RELATION = "ml_training_cache"
_TENANT = re.compile(r"[a-z0-9_]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What a plan compressed, by its records, so it is the same after a crash.

    Attributes:
        before, after: bytes of their files; one that several sets share counts once.
        plain: sets that would not have become smaller.
        damaged: sets with a file that is not what was written; nobody can use them, and they stay as they are.
        busy: sets somebody was writing beside; they are for the next plan.
    """

    sets: int
    before: int
    after: int
    plain: int
    damaged: int = 0
    busy: int = 0


def bury_files(engine: Engine, settings: Settings, plan_sha256: str, step: Callable[[str], None]) -> int:
    """Take out the sets whose rows a plan removed; one that was prepared anew since stays. Returns how many.

    So does one that a row tells of again: after a crash, somebody had it back from here.
    """
    gone = 0
    told = _told_again(engine, plan_sha256)
    for tenant, key, content in _buried_rows(engine, plan_sha256):
        if (tenant, key) in told:
            continue
        gone += burial.bury(_sets(settings, tenant), key, plan=plan_sha256, content_sha256=content)
        step("burying files")
    return gone


def dig_up_files(engine: Engine, settings: Settings, plan_sha256: str, ids: Collection[str] | None) -> int:
    """Put the sets of a plan back, before their rows are; with `ids` only these. Returns how many."""
    return sum(
        burial.dig_up(_sets(settings, tenant), key, plan=plan_sha256)
        for tenant, key, _ in _buried_rows(engine, plan_sha256, ids)
    )


def clean_sets(settings: Settings) -> int | None:
    """Free what sets take that may not be used any more; None: nothing is, while a legal hold on sets is open.

    Which sets it holds only plans can tell. The database is asked where there is one.
    """
    if settings.database_url is not None or (embedded.places(settings.state_dir).data / "PG_VERSION").exists():
        with open_server(settings) as server:
            engine = open_engine(server)
            try:
                if _is_held(engine):
                    return None
            finally:
                engine.dispose()
    return TrainingSets(settings).clean()


def _is_held(engine: Engine) -> bool:
    held = exists().where(HOLDS.c.dataset == TRAINING_CACHE.name, HOLDS.c.released_at.is_(None))
    with engine.connect() as con:
        return bool(con.scalar(select(held)))


def forget_files(engine: Engine, settings: Settings, plan_sha256: str) -> int:
    """Let go of a plan's sets of every tenant for good; returns the bytes that were freed.

    Files younger than a day stay until a later cleaning: somebody may be about to use them; all while a legal hold on
    sets is open.
    """
    root = TrainingSets(settings).root.parent
    tenants = [folder.name for folder in root.iterdir() if (folder / "buried").is_dir()] if root.is_dir() else []
    clean = not _is_held(engine)
    return sum(burial.forget(_sets(settings, tenant), plan=plan_sha256, clean=clean) for tenant in tenants)


def copy_files(cold: Cold, settings: Settings, step: Callable[[str], None]) -> int:
    """Copy the buried sets of a plan to the archive, each file compressed; returns how many are damaged.

    Of those nobody could use before either, only the row is archived.
    """
    known = {file.name for file in cold.files()}
    damaged = 0
    for tenant, key, _ in _buried_rows(cold.engine, cold.plan_sha256):
        sets = _sets(settings, tenant)
        grave = sets.root / "buried" / cold.plan_sha256
        row_id, folder = json.dumps([tenant, key]), f"{cold.dataset.name}/{cold.plan_sha256[:16]}/{tenant}/{key}"
        try:
            manifest = sets.manifest(key, folder=grave)
            if manifest is None:
                continue  # it was prepared anew; only its old row went
            for file in manifest.files:
                name = f"{folder}/{file.name}{PACKED}"
                if name not in known:
                    cold.put(name, sets.folder.packed(file), row_id=row_id, rows=0, raw_bytes=file.size)
                step("archiving")
        except CorruptEntry as error:
            _require_damaged(error)
            LOG.error("The training set %s is damaged, and its files were not archived: %s", key, error)
            damaged += 1
            continue
        content = (grave / key).read_bytes()
        if f"{folder}/{key}.set" not in known:
            cold.put(f"{folder}/{key}.set", [content], row_id=row_id, rows=0, raw_bytes=len(content))
        step("archiving")
    return damaged


def unpack_files(cold: Cold, settings: Settings, row_ids: Collection[str]) -> int:
    """Put archived sets back as they were, except those that were prepared anew; returns how many."""
    found = 0
    archived: dict[str, dict[str, ColdFile]] = {}
    for one in cold.files():
        if one.row_id is not None and one.row_id in row_ids:
            archived.setdefault(one.row_id, {})[one.name.rpartition("/")[2]] = one
    for row_id, files in archived.items():
        tenant, key = map(str, name_of(row_id))
        sets, description = _sets(settings, tenant), files.get(f"{key}.set")
        if description is None:
            continue  # it was damaged when it was archived
        content = cold.read(description)
        manifest = open_manifest(content, sets.seal, tenant, key)
        # Cleaning in between would take files that no description needs yet.
        with locked(sets.root / "lock", shared=True):
            if (sets.root / "sets" / key).exists():
                continue
            for file in manifest.files:
                sets.folder.take_in(file, cold.pieces(files[f"{file.name}{PACKED}"]))
            write_whole(sets.root / "sets" / key, content)
            found += 1
    return found


def compress_files(engine: Engine, settings: Settings, act: Act, step: Callable[[str], None]) -> Compressed:
    """Compress the files of the sets that a plan names and that still are due; nothing is taken out."""
    damaged = busy = 0
    with engine.connect() as con:
        due = still_due(con, act, range(act.plan.rows.num_rows))
    ids = act.plan.rows["row_id"].to_pylist()
    for tenant, key in (name_of(ids[place]) for place in due):
        sets = _sets(settings, str(tenant))
        with locked(sets.root / "lock", wait=False) as alone:
            busy += not alone
            try:
                manifest = sets.manifest(str(key)) if alone else None
                if manifest is None:
                    continue
                bytes_now = sum(sets.folder.compress(file) for file in manifest.files)
            except CorruptEntry as error:
                _require_damaged(error)
                LOG.error("The training set %s is damaged and was not compressed: %s", key, error)
                damaged += 1
                continue
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
        step("compressing")
    return replace(_compressed(engine, settings, act.plan), damaged=damaged, busy=busy)


def _compressed(engine: Engine, settings: Settings, plan: Plan) -> Compressed:
    rows, began = ML_TRAINING_CACHE.c, select(PLANS.c.started_at).where(PLANS.c.plan_sha256 == plan.sha256)
    done = select(rows.tenant, rows.cache_key, rows.stored_bytes).where(rows.compressed_at >= began.scalar_subquery())
    planned = {name_of(row_id) for row_id in plan.rows["row_id"].to_pylist()}
    with engine.connect() as con:
        found = [row for row in con.execute(done) if (row.tenant, row.cache_key) in planned]
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    plain = 0
    for tenant, key, stored in found:
        sets = _sets(settings, tenant)
        manifest = sets.manifest(key)
        files = manifest.files if manifest else ()
        plain += stored >= sum(file.size for file in files)
        sizes |= {(tenant, file.name): (file.size, sets.folder.stored_bytes(file)) for file in files}
    before, after = sum(one for one, _ in sizes.values()), sum(one for _, one in sizes.values())
    return Compressed(sets=len(found), before=before, after=after, plain=plain)


def _require_damaged(error: CorruptEntry) -> None:
    """Raise an error again that may be over the next time: a file that could not be opened is not a damaged one."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
        raise error


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
    graves = GRAVES[RELATION].c
    query = select(graves.tenant, graves.cache_key, graves.content_sha256).where(graves.plan_sha256 == plan_sha256)
    if ids is not None:
        query = query.where(cast(func.json_build_array(graves.tenant, graves.cache_key), Text).in_(list(ids)))
    with engine.connect() as con:
        rows = con.execute(query.order_by(graves.position)).all()
    for tenant, key, content in rows:
        yield tenant, key, bytes(content)


def _told_again(engine: Engine, plan_sha256: str) -> frozenset[tuple[str, str]]:
    rows, graves = ML_TRAINING_CACHE.c, GRAVES[RELATION].c
    query = select(rows.tenant, rows.cache_key).where(
        graves.plan_sha256 == plan_sha256,
        graves.tenant == rows.tenant,
        graves.cache_key == rows.cache_key,
    )
    with engine.connect() as con:
        return frozenset((row.tenant, row.cache_key) for row in con.execute(query))


def _sets(settings: Settings, tenant: str) -> TrainingSets:
    if not _TENANT.fullmatch(tenant):  # it becomes the name of a folder
        raise PlanError(f"{tenant!r} is no tenant's name.", hint="Somebody changed rows of training sets by hand.")
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
