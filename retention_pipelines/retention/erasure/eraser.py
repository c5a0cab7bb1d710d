"""Erasure orders: a preview that a person reads and confirms, the erasure through every tier, and its certificate.

The subject's name is kept nowhere but in a file of this machine, readable by its owner only, from the preview until the
order is done; Postgres and the lake know keyed digests. Every step may be repeated, so a crash anywhere and the same
confirmation again is one clean erasure. What a legal hold keeps stays, and the order stays open. What does not belong
here: what is removed in a tier (`lake.py`, `postgres.py`, `files.py`), what is written down of it (`orders.py`).
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import rfc8785
from sqlalchemy import Engine, delete, select

from retention_pipelines.catalog import DATASETS
from retention_pipelines.errors import PlanError, PolicyError
from retention_pipelines.postgres.address import EVERY_TENANT, Deadlines
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.postgres.tables import COLD_FILES, PLANS, SERVING_LOADS
from retention_pipelines.retention.erasure.files import FileErasure
from retention_pipelines.retention.erasure.lake import LakeErasure, Traces
from retention_pipelines.retention.erasure.notes import Notes
from retention_pipelines.retention.erasure.orders import Certificate, Orders
from retention_pipelines.retention.erasure.postgres import CACHES, DatabaseErasure
from retention_pipelines.retention.erasure.subject import Subject
from retention_pipelines.retention.plans.plan_store import now
from retention_pipelines.retention.plans.planning import Planner, planner
from retention_pipelines.retention.policies.governed import GOVERNED
from retention_pipelines.retention.protection.held import held_series, held_studies
from retention_pipelines.retention.runs.lock import run_lock, who_am_i
from retention_pipelines.retention.runs.run import RESUMABLE
from retention_pipelines.series.serving import load_serving_copy
from retention_pipelines.settings import Settings
from retention_pipelines.sources.erased import add_erased, digest_for
from retention_pipelines.warehouse.objects import open_objects

_SLOW = Deadlines(statement=1800.0, lock=300.0, idle_in_transaction=1800.0)
Step = Callable[[str], None]
# What is left may have been written by somebody who had read it before it went.
_LOOKS = 3
#: What an order takes with it that is not about its subject; nobody confirms one without having been told.
WHAT_ELSE_GOES = (
    "All cached answers and ALL training sets, of every tenant and whatever they are about: Postgres, files and lake.",
    "Undo, restore and time travel of EVERY table: earlier versions, what runs removed, lake versions kept for models.",
    "Tombstones, regrets and counted reads of cached entries.",
    "Whole copies of raw files that hold or mention the subject, and its name in texts of other rows.",
)
#: Places that no order reaches; its certificate says so.
NOT_REACHED = (
    "Backups, and copies that somebody made elsewhere.",
    "Postgres's write-ahead log, and its pages until Postgres uses them again.",
    "Logs, and Dagster's own events and runs, which may name it.",
    "Files outside the root of the lake, the other root and the state folder.",
)
_NOT_REACHED_ON_S3 = (
    "On S3: earlier versions of objects where the bucket keeps them, and files of plans; what was deleted there was not"
    " looked for again."
)
# These change with every request, and go whole: to confirm one need not have seen the very number.
_CHANGING = frozenset(
    f"postgres {name}"
    for name in (
        *("ml_feature_store", "ml_inference_cache", "online_features", "tombstones", "regrets"),
        *("graveyard_inference_cache", "graveyard_training_cache", "graveyard_performance_metrics"),
        *("access_counts", "access_log", "work_queue", "invalidation_log", "plan_rows", "leases"),
    )
)


def _nothing(_: str) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an erasure would remove; `sha256` is what a person confirms.

    Attributes:
        counts: rows and files about the subject, by tier; caches go whole.
        held: rows that legal holds keep.
        also: what goes beside what is about the subject, in words.
    """

    sha256: str
    kind: str
    reason: str
    counts: Mapping[str, int]
    held: Mapping[str, int]
    also: tuple[str, ...] = WHAT_ELSE_GOES


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """Previews and carries out erasure orders; open one with `eraser(settings)`.

    Attributes:
        step: called after every piece of work, with its name: progress, and where tests end the process.
    """

    settings: Settings
    server: Server
    planner: Planner
    engine: Engine
    step: Step = _nothing

    # -- preview --------------------------------------------------------------------------------------------------

    def preview(self, kind: str, value: str, *, reason: str) -> Preview:
        """Count what an erasure would remove, and note on this machine what the hash stands for. Removes nothing."""
        self.settings.require_full("Noting an erasure")
        subject = Subject.read(kind, value)
        if not reason.strip():
            raise PolicyError(
                "An erasure needs a reason.", hint="Say in a sentence why, without naming what is erased."
            )
        if subject.mentioned_in(reason):
            raise PolicyError("The reason names what is to be erased, and it is kept.", hint="Say it without the name.")
        found = self._preview(subject, reason)
        noted = {"kind": subject.kind, "value": subject.value, "reason": reason}
        self._notes.forget_old({one.plan for one in self.orders() if one.state != "done"})
        self._notes.write(found.sha256, noted)
        return found

    def _preview(self, subject: Subject, reason: str) -> Preview:
        tiers = self._tiers(subject)
        seen = self._see(tiers, tiers.lake.traces())
        counts = {**seen.counts, **{f"lake texts of {name}": n for name, n in tiers.lake.mentioning().items()}}
        held = seen.held
        digest = digest_for(self.settings, subject.kind, subject.value)
        sealed: dict[str, Any] = {
            "kind": subject.kind,
            "subject": digest.hex(),
            "counts": {name: n for name, n in counts.items() if name not in _CHANGING},
            "held": {name: n for name, n in held.items() if name not in _CHANGING},
            # What was found after an order was done is another order, even if it is as much.
            "after_order": self._orders.last_done(digest),
        }
        return Preview(
            sha256=hashlib.sha256(rfc8785.dumps(sealed)).hexdigest(),
            kind=subject.kind,
            reason=reason,
            counts=counts,
            held=held,
        )

    # -- carrying it out ------------------------------------------------------------------------------------------

    def confirm(self, sha256: str, *, actor: str | None = None) -> Certificate:
        """Carry out what a preview said, or go on where a crash or a hold ended it.

        Refused when other counts came out, but for those that change with every request and go whole: what is erased
        was shown to a person. Refused, too, while a run that was cut short has rows of the subject in hand.
        """
        self.settings.require_full("Erasing")
        who = actor or who_am_i()
        with self._alone(sha256):
            order = self._orders.of_plan(sha256)
            if order is not None and order.state == "done":
                return order
            noted = self._notes.read(sha256)
            subject = Subject.read(noted["kind"], noted["value"])
            self._require_finished(subject)
            if order is None:
                found = self._preview(subject, noted["reason"])
                if found.sha256 != sha256:
                    raise PlanError(
                        "What would be erased changed since it was shown.", hint="Preview it again, then confirm that."
                    )
                number = self._orders.begin(
                    kind=subject.kind,
                    digest=digest_for(self.settings, subject.kind, subject.value),
                    reason=found.reason,
                    plan=sha256,
                    counts=found.counts,
                    held=found.held,
                    actor=who,
                )
            else:
                number = order.order
            self.step("ordered")
            self._carry_out(number, subject, who)
            found_certificate = self.certificate(number)
            if found_certificate.state == "done":
                self._notes.forget(lambda other: (other["kind"], other["value"]) == (noted["kind"], noted["value"]))
        return found_certificate

    def _require_finished(self, subject: Subject) -> None:
        """Refuse while a run that was cut short needs a plan file that would go: nothing could finish or undo it."""
        named = {path.stem for path in FileErasure(settings=self.settings, subject=subject).plans()}
        with self.engine.connect() as con:
            query = select(PLANS.c.plan_sha256).where(PLANS.c.state.in_(RESUMABLE)).order_by(PLANS.c.started_at)
            cut_short = [one for one in con.scalars(query) if one in named]
        if cut_short:
            raise PlanError(
                f"The run of plan {cut_short[0][:12]} was cut short and names what is to be erased.",
                hint=f"Finish it first: retention run {cut_short[0]}. Or take it back: retention restore --plan.",
            )

    def _carry_out(self, number: int, subject: Subject, who: str) -> None:
        digest = digest_for(self.settings, subject.kind, subject.value)
        add_erased(self.planner.lake, subject.kind, digest, number)
        self.step("listed")
        for look in range(_LOOKS):
            tiers = self._tiers(subject)
            traces = tiers.lake.remove_rows(
                number,
                prepare=partial(self._prepare, tiers),
                remember=partial(self._remember, number),
            )
            self.step("removed")
            instant = now(self.engine)
            instants = self._orders.remember_instant(number, instant)
            held_windows = held_series(self.planner, self._datasets(subject, traces))
            tiers.lake.recompute(traces, at=instant, instants=instants, series=not held_windows)
            self.step("computed again")
            tiers.lake.drop_folded()
            tiers.lake.redact_mentions()
            self.step("redacted")
            held = tiers.database.held_entries()
            tiers.database.remove(held)
            self._remove_cold_files([name for name in CACHES if name not in held])
            self.step("cleared")
            sets = frozenset((str(row[0]), str(row[1])) for row in held.get("ml_training_cache", ()))
            tiers.files.remove_training_sets(sets, buried="ml_training_cache" not in held)
            for path in (*tiers.files.raw_copies(traces.files), *tiers.files.plans()):
                path.unlink(missing_ok=True)
            self.step("unlinked")
            tiers.lake.forget_past()
            self._serve()
            self.step("forgotten")
            found = self._look(subject, traces)
            left = found.left
            if not left or look == _LOOKS - 1:
                break
        self._finish(number, subject, found, who)

    def _prepare(self, tiers: "_Tiers") -> None:
        tiers.lake.prepare(())
        subject = tiers.lake.subject
        series = held_series(self.planner, (subject.value,)) if subject.kind == "dataset" else 0
        tiers.lake.prepare(held_studies(self.planner, subject), series_held=bool(series))

    @staticmethod
    def _datasets(subject: Subject, traces: Traces) -> tuple[str, ...]:
        return (subject.value,) if subject.kind == "dataset" else traces.datasets

    def _remove_cold_files(self, relations: Collection[str]) -> None:
        """Files of cached entries that were archived out of Postgres (`cold.py`), and what lists them."""
        mine = COLD_FILES.c.relation.in_(relations)
        query = select(COLD_FILES.c.root, COLD_FILES.c.name).where(mine)
        with self.engine.connect() as con:
            found = con.execute(query).all()
        for root, name in found:
            is_cold = self.settings.cold_root is not None and root.startswith(self.settings.cold_root)
            options = self.settings.cold_storage_options if is_cold else self.settings.storage_options
            open_objects(root, options if "://" in root else None).delete(name)
        with self.engine.begin() as con:
            con.execute(delete(COLD_FILES).where(mine))

    def _look(self, subject: Subject, traces: Traces) -> "_Look":
        """What an attempt left, everywhere."""
        tiers = self._tiers(subject)
        seen = self._see(tiers, traces)
        if any(seen.held.values()):
            return seen  # what is held mentions it, of course
        left = dict(seen.left)
        left |= {f"postgres {name}": n for name, n in tiers.database.mentions().items()}
        left |= dict.fromkeys(tiers.files.mentions(), 1)
        return replace(seen, left=left)

    def _serve(self) -> None:
        with self.engine.connect() as con:
            loaded = con.execute(select(SERVING_LOADS.c.dataset)).first()
        if loaded is not None:
            load_serving_copy(self.planner.lake, self.server, full=True)

    def _finish(self, number: int, subject: Subject, look: "_Look", who: str) -> None:
        lake = self.planner.lake
        self._orders.finish(
            number,
            after=look.counts,
            held=look.held,
            left={self._masked(subject, place): n for place, n in look.left.items()},
            versions={name: version for name in DATASETS if (version := lake.table(name).version()) >= 0},
            not_reached=(*NOT_REACHED, *([_NOT_REACHED_ON_S3] if self._is_remote else [])),
            actor=who,
        )
        self.step("certified")

    @property
    def _is_remote(self) -> bool:
        return any("://" in (root or "") for root in (self.settings.lake_root, self.settings.cold_root))

    @staticmethod
    def _masked(subject: Subject, place: str) -> str:
        return place if not subject.mentioned_in(place) else hashlib.sha256(place.encode()).hexdigest()[:16]

    # -- orders ---------------------------------------------------------------------------------------------------

    def certificate(self, number: int) -> Certificate:
        """What became of an order; raises PolicyError where there is none of that number."""
        return self._orders.certificate(number)

    def orders(self) -> tuple[Certificate, ...]:
        """Every order, oldest first."""
        return self._orders.all()

    @property
    def _orders(self) -> Orders:
        return Orders(engine=self.engine)

    @property
    def _notes(self) -> Notes:
        return Notes(state_dir=self.settings.state_dir)

    # -- pieces ---------------------------------------------------------------------------------------------------

    def _tiers(self, subject: Subject) -> "_Tiers":
        tiers = _Tiers(
            lake=LakeErasure(lake=self.planner.lake, subject=subject),
            database=DatabaseErasure(engine=self.engine, subject=subject),
            files=FileErasure(settings=self.settings, subject=subject),
        )
        self._prepare(tiers)
        return tiers

    def _see(self, tiers: "_Tiers", traces: Traces) -> "_Look":
        """Rows and files about a subject: all, those that holds keep, and those of the lake that none keeps."""
        every, removable = tiers.lake.counts(), tiers.lake.counts(removable=True)
        counts = {f"lake {name}": n for name, n in every.items()}
        counts |= {f"postgres {name}": n for name, n in tiers.database.counts().items()}
        counts["files training sets"] = tiers.files.training_sets()
        counts["files raw copies"] = len(tiers.files.raw_copies(traces.files))
        counts["files plans"] = len(tiers.files.plans())
        held = {f"lake {name}": n - removable.get(name, 0) for name, n in every.items() if n > removable.get(name, 0)}
        if windows := held_series(self.planner, self._datasets(tiers.lake.subject, traces)):
            held["lake aggregated_time_series"] = windows
        entries = tiers.database.held_entries()
        held |= {f"postgres {name}": len(rows) for name, rows in entries.items() if rows}
        if graves := tiers.database.held_graves(entries):
            held["postgres graves and archived files"] = graves
        return _Look(counts=counts, held=held, left={name: n for name, n in removable.items() if n})

    def _remember(self, number: int, traces: Traces) -> Traces:
        known = self._orders.remember_traces(number, traces)
        self.step("traced")
        return known

    @contextmanager
    def _alone(self, sha256: str) -> Iterator[None]:
        """Neither another erasure nor a run of any dataset meanwhile."""
        with ExitStack() as stack:
            for name in ("erasure", *sorted(GOVERNED)):
                stack.enter_context(run_lock(self.server, name, sha256))
            yield


@dataclass(frozen=True, kw_only=True)
class _Tiers:
    lake: LakeErasure
    database: DatabaseErasure
    files: FileErasure


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What there is of a subject; `left` are rows that no hold keeps, and places that mention it."""

    counts: Mapping[str, int]
    held: Mapping[str, int]
    left: Mapping[str, int]


@contextmanager
def eraser(settings: Settings, *, step: Step = _nothing) -> Iterator[Eraser]:
    """Open the stores of these settings for erasing."""
    with open_server(settings) as server, planner(settings) as planning:
        engine = open_engine(server, role="owner", tenant=EVERY_TENANT, deadlines=_SLOW)
        try:
            yield Eraser(settings=settings, server=server, planner=planning, engine=engine, step=step)
        finally:
            engine.dispose()
