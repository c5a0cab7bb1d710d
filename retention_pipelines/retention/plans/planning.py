"""Plans over the stores of these settings: policies, protections and reads are looked up, then rows are decided.

What belongs here: opening what a plan needs and asking the database for the instant it is made at. What does not: how
rows are selected (`select_lake.py`, `select_postgres.py`), executing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import pyarrow as pa
from sqlalchemy import Connection, Engine, Table, func, or_, select

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.postgres.tables import ACCESS_COUNTS, HOLDS, LEASES, MODELS, PINS, PLANS, ROOTS
from retention_pipelines.retention.filter.oracle import Value
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.explain import Explanation, explain
from retention_pipelines.retention.plans.find import find_in_lake, find_in_postgres
from retention_pipelines.retention.plans.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plans.plan import NEWEST, Plan
from retention_pipelines.retention.plans.select_lake import Rules, is_all_of_newest, plan_lake, table_of
from retention_pipelines.retention.plans.select_postgres import plan_postgres
from retention_pipelines.retention.policies.decide import Protection, ProtectionKind, in_order
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.policies.policy import Action, Policy, PolicySet
from retention_pipelines.retention.policies.registry import PolicyRegistry
from retention_pipelines.retention.pressure.break_even import Balance, balance, worth
from retention_pipelines.retention.pressure.value import Prices
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake

_DOES: dict[Action, str] = {
    "delete": "deletes",
    "archive": "archives",
    "migrate": "migrates",
    "downsample": "downsamples",
}


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Rows of a dataset that have expired before and after an edit of its policies, and their share of its bytes.

    `actions` is what the policies, before or after, do with rows that expire; packing takes none away.
    """

    dataset: str
    before: int
    after: int
    before_bytes: int = 0
    after_bytes: int = 0
    actions: frozenset[Action] = frozenset({"delete"})

    def sentence(self) -> str:
        """What the edit does, for the person about to save it."""
        more = self.after - self.before
        does = _DOES[next(iter(self.actions))] if len(self.actions) == 1 else "lets go"
        if not more:
            return f"This edit {does} no row more or less of {self.dataset} ({self.after:,} have expired)."
        kind = "more" if more > 0 else "fewer"
        size = abs(self.after_bytes - self.before_bytes)
        said = f"This edit {does} {abs(more):,} {kind} rows of {self.dataset} ({self.before:,} -> {self.after:,})"
        return f"{said}, {size:,} bytes." if size else f"{said}."


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes plans; open one with `planner(settings)`."""

    engine: Engine
    lake: Lake
    registry: PolicyRegistry

    def as_of(self) -> datetime:
        """The database's instant, never before that of a plan made earlier."""
        last = select(func.max(PLANS.c.as_of)).scalar_subquery()
        with self.engine.connect() as con:
            return cast(datetime, con.execute(select(func.greatest(func.now(), last))).scalar_one())

    def plan(self, policy: Policy, *, as_of: datetime | None = None) -> Plan:
        """What executing one policy now would do; rows it does not govern are kept."""
        if not policy.enabled:
            raise PolicyError(f"{policy.policy_id} is switched off.", hint="`retention policies set` switches it on.")
        dataset = governed(policy.dataset)
        policies = self.registry.policy_set(dataset.name)
        instant = as_of or self.as_of()
        return self.plan_with(dataset, policies, instant, policy.action, policy.policy_id)

    def plan_with(
        self, dataset: Governed, policies: PolicySet, as_of: datetime, action: Action, only: str | None
    ) -> Plan:
        """The plan of what an action under any policies would do."""
        protections = self.protections(dataset, as_of)
        if dataset.store == "lake":
            reads = self.reads(dataset) if dataset.read_key else None
            return plan_lake(
                self.lake,
                dataset,
                policies,
                as_of=as_of,
                reads=reads,
                protections=protections,
                action=action,
                only=only,
            )
        return plan_postgres(
            self.engine, dataset, policies, as_of=as_of, protections=protections, action=action, only=only
        )

    def plan_all(self, *, as_of: datetime | None = None) -> tuple[tuple[Policy, Plan], ...]:
        """A plan for every enabled policy, all at the same instant."""
        instant = as_of or self.as_of()
        return tuple((policy, self.plan(policy, as_of=instant)) for policy in self.registry.current() if policy.enabled)

    def effect(self, *proposed: Policy) -> Effect:
        """What edits of one dataset's policies would change, by planning it before and after; nothing is saved."""
        dataset, instant, edited = governed(proposed[0].dataset), self.as_of(), {one.policy_id for one in proposed}
        others = tuple(one for one in self.registry.current(dataset.name) if one.policy_id not in edited)
        now, then = self.registry.policy_set(dataset.name), PolicySet.of(dataset.name, (*others, *proposed))
        before, after = (self._expired(dataset, policies, instant) for policies in (now, then))
        return Effect(
            dataset=dataset.name,
            before=before[0],
            after=after[0],
            before_bytes=before[1],
            after_bytes=after[1],
            actions=_removing(now) | _removing(then),
        )

    def _expired(self, dataset: Governed, policies: PolicySet, as_of: datetime) -> tuple[int, int]:
        plans = [self.plan_with(dataset, policies, as_of, action, None) for action in sorted(_removing(policies))]
        size = sum(
            count.size_bytes
            for plan in plans
            for count in plan.counts
            if count.verdict == "expire" or count.ruled_by == NEWEST
        )
        return sum(plan.expired_rows for plan in plans), size

    def balance(self, policy: Policy, plan: Plan) -> Balance | None:
        """Whether keeping what a policy let go by a plan would have paid; None where nothing is measured.

        Nor of entries whose own end is over: nobody would be served them.
        """
        if policy.anchor == "expires_at":
            return None
        dataset = governed(policy.dataset)
        return balance(
            self.engine,
            dataset,
            self.registry.policy_set(dataset.name),
            self.protections(dataset, plan.as_of),
            as_of=plan.as_of,
            action=plan.action,
            only=plan.only,
            prices=Prices.of(self.lake.settings),
        )

    def explain(self, name: str, row_id: str, *, as_of: datetime | None = None) -> tuple[Explanation, ...]:
        """Why a row of a dataset is kept or goes; several where an id names several rows.

        A feature is named by its feature_hash, feature_id or study; a cache entry by its key. Raises PolicyError when
        nothing has that name.
        """
        dataset = governed(name)
        instant = as_of or self.as_of()
        found = (
            find_in_lake(self.lake, dataset, row_id, self.reads(dataset))
            if dataset.store == "lake"
            else find_in_postgres(self.engine, dataset, row_id)
        )
        if not found:
            raise PolicyError(f"{name} has no row {row_id!r}.", hint=f"Rows are named by {' or '.join(dataset.names)}.")
        policies, protections = self.registry.policy_set(name), self.protections(dataset, instant)
        explained = [explain(row, dataset, policies, protections, instant) for row in found]
        if dataset.store == "lake":
            explained = [
                replace(one, blocked_by=NEWEST)
                if self._is_all_of_newest(dataset, row, one, policies, protections)
                else one
                for row, one in zip(found, explained, strict=True)
            ]
        prices = Prices.of(self.lake.settings)
        return tuple(
            # Once its own end is over nobody is served it, so its reads say nothing.
            one if one.decision.is_over else replace(one, worth=worth(row, dataset, instant, prices))
            for row, one in zip(found, explained, strict=True)
        )

    def _is_all_of_newest(
        self,
        dataset: Governed,
        row: Mapping[str, Value],
        found: Explanation,
        policies: PolicySet,
        protections: Sequence[Protection],
    ) -> bool:
        """Whether the row stays, though it has expired, because its policy leaves nothing of the newest partition."""
        policy = found.decision.policy
        if found.decision.verdict != "expire" or found.decision.ruled_by or policy is None:
            return False
        rules = Rules(
            dataset=dataset,
            policies=policies,
            protections=in_order(protections),
            as_of=found.as_of,
            action=policy.action,
            only=policy.policy_id,
        )
        partition_by = table_of(self.lake, dataset).dataset.partition_by
        reads = self.reads(dataset) if dataset.read_key else None
        place = tuple(str(row[name]) for name in partition_by if name in row)
        return policy.action != "compress" and is_all_of_newest(self.lake, rules, reads, place)

    def reads(self, dataset: Governed, *, since: datetime | None = None) -> pa.Table:
        """How often rows of a lake dataset were read, by all tenants together; columns of `READS_SCHEMA`.

        With `since` only of those that were read then or later.
        """
        counts = (
            select(ACCESS_COUNTS.c.key, func.sum(ACCESS_COUNTS.c.hits), func.max(ACCESS_COUNTS.c.last_accessed_at))
            .where(ACCESS_COUNTS.c.dataset == dataset.table)
            .group_by(ACCESS_COUNTS.c.key)
        )
        if since is not None:
            counts = counts.having(func.max(ACCESS_COUNTS.c.last_accessed_at) >= since)
        with self.engine.connect() as con:
            rows = con.execute(counts).all()
        return pa.table(
            {
                "key": [row[0] for row in rows],
                "hits": [int(row[1]) for row in rows],
                "last_accessed_at": [row[2] for row in rows],
            },
            schema=READS_SCHEMA,
        )

    def protections(self, dataset: Governed, as_of: datetime) -> tuple[Protection, ...]:
        """What stands above the policies of a dataset at an instant: holds, pins, leases, and what models need."""
        with self.engine.connect() as con:
            return (
                *_placed(con, dataset, HOLDS, "hold", HOLDS.c.released_at.is_(None)),
                *_placed(
                    con,
                    dataset,
                    PINS,
                    "pin",
                    PINS.c.released_at.is_(None) & or_(PINS.c.pinned_until.is_(None), PINS.c.pinned_until > as_of),
                ),
                *_roots(con, dataset, as_of),
                *_placed(con, dataset, LEASES, "lease", LEASES.c.leased_until > as_of),
            )


@contextmanager
def planner(settings: Settings) -> Iterator[Planner]:
    """Open the stores of these settings for planning; policies that were never there are loaded."""
    with open_server(settings) as server, Lake(settings, frees_space=True) as lake:
        engine = open_engine(server, tenant=EVERY_TENANT)
        try:
            registry = PolicyRegistry(engine)
            if settings.mode == "full":
                registry.load_defaults()
            yield Planner(engine=engine, lake=lake, registry=registry)
        finally:
            engine.dispose()


def _removing(policies: PolicySet) -> frozenset[Action]:
    """What policies do with rows that expire; packing takes no row away."""
    return frozenset(policy.action for policy in policies.policies if policy.action != "compress")


def _placed(
    con: Connection, dataset: Governed, table: Table, kind: ProtectionKind, in_force: object
) -> list[Protection]:
    number = table.c[f"{kind}_id"]
    rows = con.execute(
        select(number, table.c.match).where(table.c.dataset == dataset.name, in_force).order_by(number)  # type: ignore[arg-type]
    )
    return [
        Protection(kind=kind, label=f"{kind} {identity}", match=parse(match, dataset.fields))
        for identity, match in rows
    ]


def _roots(con: Connection, dataset: Governed, as_of: datetime) -> list[Protection]:
    """What models need that are live, or retired for less than they must stay reproducible."""
    until = MODELS.c.retired_at + func.make_interval(0, 0, 0, 0, 0, 0, MODELS.c.reproducibility_seconds)
    rows = con.execute(
        select(ROOTS.c.model_id, ROOTS.c.model_version, ROOTS.c.match)
        .join(MODELS, (MODELS.c.model_id == ROOTS.c.model_id) & (MODELS.c.model_version == ROOTS.c.model_version))
        .where(ROOTS.c.dataset == dataset.name, or_(MODELS.c.retired_at.is_(None), until >= as_of))
        .order_by(ROOTS.c.model_id, ROOTS.c.model_version, ROOTS.c.match)
    )
    return [
        Protection(kind="root", label=f"model {model} {version}", match=parse(match, dataset.fields))
        for model, version, match in rows
    ]
