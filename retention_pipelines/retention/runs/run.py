"""Executing plans: guards, mark, remove, publish, measure; after the grace, sweep. Each state change is audited.

A plan is executed by its hash. Every step is either done whole or can be done again, so a crash anywhere and the same
call again is one clean run. What does not belong here: what is decided (`decide.py`, `guard.py`), how rows leave a
store (`act_lake.py`, `act_postgres.py`), taking back (`restore.py`).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError

from retention_pipelines.errors import PlanError, RetentionError, RunBusy, RunRefused
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.postgres.tables import PLANS
from retention_pipelines.retention.actions.act_postgres import Act, Step
from retention_pipelines.retention.plans.evidence import free_bytes, is_unchanged, measure_facts, told
from retention_pipelines.retention.plans.guard import Facts, Limits, refusals
from retention_pipelines.retention.plans.plan import Plan, hastened
from retention_pipelines.retention.plans.plan_store import FOLDER, PlanRecord, PlanStore, now
from retention_pipelines.retention.plans.planning import Planner, planner
from retention_pipelines.retention.policies.decide import in_order
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.policies.policy import Policy, PolicySet
from retention_pipelines.retention.pressure.reserve import reserve_given_up
from retention_pipelines.retention.pressure.state import writing_stopped
from retention_pipelines.retention.runs import run_lake, run_postgres
from retention_pipelines.retention.runs.counts import forget_counts
from retention_pipelines.retention.runs.lock import RunLock, run_lock, who_am_i
from retention_pipelines.retention.simulation.access_log import prune
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.objects import open_objects

LOG = logging.getLogger(__name__)

RESUMABLE = ("marked", "archived")
EXECUTED = ("published", "swept", "done")
# What carries out the actions of each store; `ACTIONS` of a module names those it can.
TIERS = {"lake": run_lake, "postgres": run_postgres, "files": run_postgres}


def _nothing(_: str) -> None:
    return None


def _host_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an executed plan; None is unknown, which is not 0.

    Attributes:
        removed, kept, missing: rows of the plan that went, stay after all, or had gone already.
        archived: rows copied to the archive, or to the other root, before they went.
        rewritten: rows that were packed; none of them went.
        said: what there is to say of it beside the figures.
        logical_bytes: the removed rows' share of their files or relation.
        file_bytes: bytes of files or relations that are not needed any more once grace is over.
        disk_bytes: what the file system gained when the plan was swept; other writers count too.
    """

    plan_sha256: str
    dataset: str
    action: str
    state: str
    removed: int
    kept: int
    missing: int
    archived: int
    logical_bytes: int | None
    file_bytes: int | None
    disk_bytes: int | None
    grace_until: datetime | None
    rewritten: int = 0
    said: str | None = None


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Executes plans; open one with `runner(settings)`.

    Attributes:
        step: called after every piece of work, with its name: progress, and where tests end the process.
    """

    settings: Settings
    server: Server
    planner: Planner
    store: PlanStore
    limits: Limits = field(default_factory=Limits)
    host_clock: Callable[[], datetime] = _host_clock
    step: Step = _nothing

    # -- plans ----------------------------------------------------------------------------------------------------

    def plan(self, policy: Policy, *, actor: str | None = None) -> Plan:
        """Make a plan and put it on record."""
        made = self.planner.plan(policy)
        self.store.save(made, created_by=actor or who_am_i())
        return made

    def execute(self, sha256: str, *, confirm: str | None = None, actor: str | None = None) -> Outcome:
        """Execute a plan on record, or go on where a crash ended it; a second time changes nothing.

        `confirm` is the plan's whole hash, by a person who read it; it overrules those guards that a person may.
        Raises RunRefused, RunBusy, PlanError; a refusal and a failure are in the history and the audit.
        """
        self.settings.require_full("Executing a plan")
        who = actor or who_am_i()
        record = self.store.record(sha256)
        try:
            plan = self.store.load(record.sha256)
        except PlanError as error:
            self._failed(record, who, error)
            raise
        with run_lock(self.server, plan.dataset, plan.sha256) as lock:
            record = self.store.record(plan.sha256)
            if record.state in EXECUTED:
                return self.outcome(plan.sha256)
            if record.state == "restored":
                raise PlanError(f"Plan {plan.sha256[:12]} was taken back.", hint="Make a new plan.")
            policies = self._frozen(plan)
            if record.state not in RESUMABLE:
                self._begin(plan, policies, confirm=confirm, who=who)
            try:
                with storage_faults(self.planner.lake.root):
                    self._held(lock)._act(plan, policies, lock, who)
            except RetentionError as error:
                self._failed(record, who, error)
                raise
            if not self.grace(plan, policies):
                self._held(lock)._sweep(self.store.record(plan.sha256), who)
        return self.outcome(plan.sha256)

    def execute_policy(self, policy: Policy, *, confirm: str | None = None, actor: str | None = None) -> Outcome:
        """Finish what a crash left of the dataset's runs, sweep what is due, then plan and execute a policy."""
        for record in self.store.open(policy.dataset):
            if record.state in RESUMABLE:
                self.execute(record.sha256, actor=actor)
        self.sweep(policy.dataset, actor=actor)
        return self.execute(self.plan(policy, actor=actor).sha256, confirm=confirm, actor=actor)

    def sweep(
        self, dataset: str | None = None, *, early: str | None = None, actor: str | None = None
    ) -> tuple[Outcome, ...]:
        """Let go for good of what executed plans removed, where their grace is over.

        On a disk so full that writing stopped no grace is longer than the settings say for that, but for plans that let
        rows go early. `early` is the whole hash of a plan whose grace a person ends. Raises RunBusy at the end where a
        dataset was in somebody's hands; what is due of the others has been let go by then.
        """
        self.settings.require_full("Sweeping")
        who, instant, swept = actor or who_am_i(), now(self.planner.engine), []
        if early is not None and early not in {record.sha256 for record in self.store.open() if record.grace_until}:
            raise PlanError(
                f"{early} is no whole hash of a plan in its grace.", hint="`retention pressure` lists them."
            )
        busy = None
        for record in self.store.open(dataset):
            is_due = record.sha256 == early or self._due(record, instant)
            if record.state not in ("published", "swept") or not is_due:
                continue
            try:
                with run_lock(self.server, record.dataset, record.sha256) as lock:
                    found = self.store.record(record.sha256)
                    if found.state not in ("published", "swept"):
                        continue  # somebody swept it, or took it back, before we had the lock
                    self._held(lock)._sweep(found, who)
            except RunBusy as error:
                busy = error
                continue
            swept.append(self.outcome(record.sha256))
        prune(self.planner.engine, self.settings.access_log_days)
        forget_counts(self.planner)
        if busy is not None:
            raise busy
        return tuple(swept)

    def _due(self, record: PlanRecord, instant: datetime) -> bool:
        if record.grace_until is None:
            return False
        if record.grace_until <= instant:
            return True
        if (record.counts.get("haste") or {}).get("forward_share"):
            return False  # no policy had let go of all of its rows yet: that is early enough
        published = record.grace_until - timedelta(seconds=record.measured.get("grace_seconds", 0))
        longest = timedelta(hours=self.settings.full_disk_grace_hours)
        return published + longest <= instant and writing_stopped(self.settings, governed(record.dataset))

    def outcome(self, sha256: str) -> Outcome:
        """What became of a plan, by its record."""
        record = self.store.record(sha256)
        done = record.measured
        return Outcome(
            plan_sha256=record.sha256,
            dataset=record.dataset,
            action=record.action,
            state=record.state,
            removed=done.get("removed", 0),
            kept=done.get("kept", 0),
            missing=done.get("missing", 0),
            archived=done.get("archived", 0),
            logical_bytes=record.freed_logical_bytes,
            file_bytes=record.freed_file_bytes,
            disk_bytes=record.freed_disk_bytes,
            grace_until=record.grace_until,
            rewritten=done.get("rewritten", 0),
            said=done.get("said"),
        )

    # -- the steps ------------------------------------------------------------------------------------------------

    def _begin(self, plan: Plan, policies: PolicySet, *, confirm: str | None, who: str) -> None:
        """Ask the guards; the plan is marked as begun, or refused."""
        dataset = governed(plan.dataset)
        if confirm is not None and confirm != plan.sha256:
            raise PlanError(
                f"The hash given to confirm is not that of plan {plan.sha256}.", hint="Give all 64 characters of it."
            )
        facts = self._facts(plan, dataset, policies, confirmed=confirm is not None)
        found = refusals(facts, self.limits)
        can_confirm = all(one.can_confirm for one in found)
        said = [(one.guard, one.reason, one.hint) for one in found]
        if plan.action not in TIERS[dataset.store].ACTIONS[dataset.store]:
            said.insert(0, ("action", f"Runs cannot {plan.action} rows of {dataset.name} yet.", "Nothing was removed."))
            can_confirm = False
        if said:
            guard, reason, hint = said[0]
            with self.store.change(
                plan.sha256,
                actor=who,
                action="retention.refused",
                dataset=plan.dataset,
                details={"guards": [name for name, _, _ in said], "reasons": [text for _, text, _ in said]},
                state="refused",
                refused_because=f"{guard}: {reason}",
            ):
                pass
            raise RunRefused(
                f"{guard}: {reason}",
                hint=f"{hint} Plan {plan.sha256}",
                plan_sha256=plan.sha256,
                can_confirm=can_confirm,
            )
        with self.store.change(
            plan.sha256,
            actor=who,
            action="retention.marked",
            dataset=plan.dataset,
            details={"rows": plan.removed_rows, "confirmed": confirm is not None},
            state="marked",
            refused_because=None,
            started_at=now(self.planner.engine),
            done={"guarded": facts.removed, "evidence": dict(told(facts.evidence))},
            **({"confirmed_by": who, "confirmed_at": now(self.planner.engine)} if confirm else {}),
        ):
            pass
        self.step("marked")

    def _facts(self, plan: Plan, dataset: Governed, policies: PolicySet, *, confirmed: bool) -> Facts:
        return measure_facts(
            engine=self.planner.engine,
            lake=self.planner.lake,
            store=self.store,
            plan=plan,
            dataset=dataset,
            policies=policies,
            host_clock=self.host_clock,
            confirmed=confirmed,
        )

    def _act(self, plan: Plan, policies: PolicySet, lock: RunLock, who: str) -> None:
        dataset = governed(plan.dataset)
        protections = in_order(self.planner.protections(dataset, plan.as_of))
        act = Act(
            plan=plan,
            dataset=dataset,
            policies=policies,
            protections=protections,
            unchanged=is_unchanged(self.planner.engine, plan, dataset, protections),
        )
        lock.check()
        removed = TIERS[dataset.store].act_on(self, act, lock, who)
        grace = self.grace(plan, policies)
        started = self.store.record(plan.sha256)
        with self.store.change(
            plan.sha256,
            actor=who,
            action="retention.published",
            dataset=plan.dataset,
            details={**removed, "grace_seconds": grace},
            state="published",
            refused_because=None,
            grace_until=now(self.planner.engine) + timedelta(seconds=grace),
            done={**started.measured, **removed, "grace_seconds": grace},
            freed_logical_bytes=removed["logical_bytes"],
            freed_file_bytes=removed["file_bytes"],
        ):
            pass
        self.step("published")

    def _sweep(self, record: PlanRecord, who: str) -> None:
        dataset, disk = governed(record.dataset), None
        before = free_bytes(self.planner.lake)
        freed_files = record.freed_file_bytes
        if record.state == "published":
            self._end_grace(record, who)
            freed = TIERS[dataset.store].let_go(self, record)
            freed_files = freed_files if freed is None else freed
            after = free_bytes(self.planner.lake)
            disk = None if before is None or after is None or dataset.store == "postgres" else after - before
            with self.store.change(
                record.sha256,
                actor=who,
                action="retention.swept",
                dataset=record.dataset,
                details={"disk_bytes": disk, "file_bytes": freed_files, "grace_until": str(record.grace_until)},
                state="swept",
                grace_until=func.least(PLANS.c.grace_until, func.clock_timestamp()),
                freed_file_bytes=freed_files,
                freed_disk_bytes=disk,
            ):
                pass
            self.step("swept")
        with self.store.change(
            record.sha256,
            actor=who,
            action="retention.done",
            dataset=record.dataset,
            details={},
            state="done",
            finished_at=now(self.planner.engine),
        ):
            pass

    def _end_grace(self, record: PlanRecord, who: str) -> None:
        """End a grace that is cut short for good, before anything goes.

        Otherwise what a crash leaves half gone could be taken back, as if it were whole.
        """
        if record.grace_until is None or record.grace_until <= now(self.planner.engine):
            return
        with self.store.change(
            record.sha256,
            actor=who,
            action="retention.grace_ended",
            dataset=record.dataset,
            details={"grace_until": str(record.grace_until)},
            grace_until=func.least(PLANS.c.grace_until, func.clock_timestamp()),
            done={**record.measured, "urgent": run_lake.is_urgent(record)},
        ):
            pass
        self.step("grace ended")

    def _held(self, lock: RunLock) -> "Runner":
        """The same runner, that stops at the next step once the lock is lost: the dataset may be another run's then."""

        def step(name: str) -> None:
            self.step(name)
            lock.check()

        return replace(self, step=step)

    # -- pieces ---------------------------------------------------------------------------------------------------

    def _frozen(self, plan: Plan) -> PolicySet:
        """The policies a plan was made with, in the versions it was made with, whatever was edited since."""
        found = []
        for written in plan.policies:
            policy_id, _, version = written.rpartition(" v")
            found.append(self.planner.registry.get(policy_id, int(version)))
        return hastened(PolicySet(plan.dataset, tuple(found)), plan.haste)

    @staticmethod
    def grace(plan: Plan, policies: PolicySet) -> int:
        """Seconds during which a plan can be taken back: the longest of the policies that let its rows go."""
        acted = {count.policy for count in plan.counts if count.verdict == "expire"}
        longest = max((one.grace_seconds for one in policies.policies if str(one) in acted), default=0)
        capped = None if plan.haste is None else plan.haste.grace_seconds
        return longest if capped is None else min(longest, capped)

    def _failed(self, record: PlanRecord, who: str, error: RetentionError) -> None:
        """Leave a trace of a run that ended badly (P10); its state stays, so that it can go on.

        Where even that cannot be written, what the run ended of is still what is told.
        """
        try:
            with self.store.change(
                record.sha256,
                actor=who,
                action="retention.failed",
                dataset=record.dataset,
                details={"error": type(error).__name__, "reason": error.message},
                refused_because=f"failed: {error.message}",
            ):
                pass
        except (RetentionError, SQLAlchemyError, psycopg.Error) as second:
            LOG.error("That plan %s failed could not be written down: %s", record.sha256[:12], second)
            error.add_note(f"Nor could this be written to the history and the audit: {second}")


@contextmanager
def runner(settings: Settings, *, limits: Limits | None = None, step: Step = _nothing) -> Iterator[Runner]:
    """Open the stores of these settings for executing plans; on a full disk the reserve is given up first."""
    with reserve_given_up(settings), open_server(settings) as server, planner(settings) as planning:
        objects = open_objects(f"{planning.lake.root}/{FOLDER}", settings.storage_options)
        yield Runner(
            settings=settings,
            server=server,
            planner=planning,
            store=PlanStore(planning.engine, objects),
            limits=limits or Limits(),
            step=step,
        )
