"""The policies in force, in Postgres: every version of each is kept, an edit makes the next one.

What belongs here: loading the defaults, reading, editing, history, comparing. What does not: what an edit would delete
(`simulate.py`, `plan.py`), warnings (`lint.py`).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.tables import ML_RETENTION_POLICIES as TABLE
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.governed import governed
from retention_pipelines.retention.policies.lint import Finding, lint
from retention_pipelines.retention.policies.policy import Policy, PolicySet, tolerance_of

LOG = logging.getLogger(__name__)
_LOCK = "retention_policies"
EDITABLE = ("match", "keep_seconds", "anchor", "action", "priority", "enabled", "grace_seconds", "reason", "tolerance")


@dataclass(frozen=True, kw_only=True)
class PolicyVersion:
    """A version of a policy, by whom and when; `superseded_at` is None for the one in force."""

    policy: Policy
    created_by: str
    created_at: datetime
    superseded_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field of a policy that differs, as people write it."""

    field: str
    before: str
    after: str


class PolicyRegistry:
    """Reads and edits policies; each call is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load_defaults(self) -> tuple[Policy, ...]:
        """Add the packaged policies that were never there; edited and switched-off ones stay as they are.

        One that would never govern a row, or whose priority somebody gave to another policy, is left out: the log says
        so each time, and nothing else is kept from being loaded.
        """
        with self._engine.begin() as con:
            _lock(con)
            known = set(con.scalars(select(TABLE.c.policy_id).distinct()))
            new = tuple(policy for policy in default_policies() if policy.policy_id not in known)
            if not new:
                return ()
            there = tuple(_policy(row) for row in _current(con, None))
            left_out = _left_out(there, new)
            loaded = tuple(policy for policy in new if policy.policy_id not in left_out)
            for policy in loaded:
                _insert(con, policy, created_by="defaults")
        for policy_id, why in left_out.items():
            LOG.warning("The default policy %s is not loaded: %s", policy_id, why)
        return loaded

    def current(self, dataset: str | None = None) -> tuple[Policy, ...]:
        """The version in force of every policy, by dataset and priority, switched-off ones included."""
        with self._engine.connect() as con:
            return tuple(_policy(row) for row in _current(con, dataset))

    def policy_set(self, dataset: str) -> PolicySet:
        """The enabled policies of a dataset, in order."""
        return PolicySet.of(governed(dataset).name, self.current(dataset))

    def get(self, policy_id: str, version: int | None = None) -> Policy:
        """One policy, in force or an older version; raises PolicyError with the ids there are."""
        for found in self.history(policy_id):
            if found.policy.version == version or (version is None and found.superseded_at is None):
                return found.policy
        raise PolicyError(f"{policy_id} has no version {version}.", hint="`retention policies show` lists them.")

    def history(self, policy_id: str) -> tuple[PolicyVersion, ...]:
        """Every version of a policy, newest first."""
        with self._engine.connect() as con:
            rows = con.execute(
                select(TABLE).where(TABLE.c.policy_id == policy_id).order_by(TABLE.c.version.desc())
            ).all()
            if not rows:
                ids = con.scalars(select(TABLE.c.policy_id).distinct().order_by(TABLE.c.policy_id)).all()
                raise PolicyError(
                    f"There is no policy {policy_id!r}.", hint=f"Policies: {', '.join(ids) or 'none yet'}."
                )
        return tuple(
            PolicyVersion(
                policy=_policy(row),
                created_by=row.created_by,
                created_at=row.created_at,
                superseded_at=row.superseded_at,
            )
            for row in rows
        )

    def proposed(self, policy_id: str, changes: Mapping[str, Any]) -> Policy:
        """The next version of a policy with these changes, not saved; raises PolicyError for what cannot be.

        `changes` has fields of `EDITABLE`, or `retention_days`/`keep_days` and `grace_days`; `match` is text.
        """
        return _changed(self.get(policy_id), changes)

    def set(self, policy: Policy, *, created_by: str, expected_version: int | None = None) -> Policy:
        """Save a policy as the next version; returns it.

        A new id starts at version 1. `expected_version` is the one the edit was made from: when another edit came
        between, PolicyError says so and nothing is changed. A set that lint finds an error in is refused.
        """
        expected = {} if expected_version is None else {policy.policy_id: expected_version}
        return self.set_all((policy,), created_by=created_by, expected_versions=expected)[0]

    def set_all(
        self, policies: Sequence[Policy], *, created_by: str, expected_versions: Mapping[str, int]
    ) -> tuple[Policy, ...]:
        """Save several policies, as `set` does one, all of them or none; lint looks at what they make together."""
        with self._engine.begin() as con:
            _lock(con)
            there = {row.policy_id: _policy(row) for row in _current(con, None)}
            saved = tuple(_next(con, policy, there, expected_versions) for policy in policies)
            then = there | {one.policy_id: one for one in saved}
            for dataset in dict.fromkeys(one.dataset for one in saved):
                refused = errors(dataset, tuple(one for one in then.values() if one.dataset == dataset))
                if refused:
                    raise PolicyError(refused[0].message, hint="Nothing was saved.")
            # All former ones first: two may have exchanged their priorities.
            con.execute(
                update(TABLE)
                .where(TABLE.c.policy_id.in_([one.policy_id for one in saved]), TABLE.c.superseded_at.is_(None))
                .values(superseded_at=func.greatest(func.now(), TABLE.c.created_at))
            )
            for one in saved:
                try:
                    _insert(con, one, created_by=created_by)
                except IntegrityError:
                    raise PolicyError(
                        f"Another policy of {one.dataset} has the priority {one.priority}.",
                        hint="Give each its own priority, switched-off ones included.",
                    ) from None
        return saved


def _next(con: Connection, policy: Policy, there: Mapping[str, Policy], expected_versions: Mapping[str, int]) -> Policy:
    """A policy as its next version; raises PolicyError when it may not be saved as that."""
    last = con.scalar(select(func.max(TABLE.c.version)).where(TABLE.c.policy_id == policy.policy_id)) or 0
    if last and (policy.policy_id not in there or there[policy.policy_id].dataset != policy.dataset):
        raise PolicyError(f"{policy.policy_id} governs another dataset.", hint="Choose another id.")
    expected = expected_versions.get(policy.policy_id, last)
    if expected != last:
        raise PolicyError(
            f"{policy.policy_id} is at version {last} now; the edit was made from version {expected}.",
            hint="Look at the new version and make the edit again.",
        )
    governed(policy.dataset).require_action(policy.policy_id, policy.action)
    governed(policy.dataset).require_tolerance(policy)
    return replace(policy, version=last + 1)


def _left_out(there: Sequence[Policy], new: Sequence[Policy]) -> dict[str, str]:
    """Of new defaults, those that cannot be added to the policies there are, each with the reason."""
    left_out: dict[str, str] = {}
    taken = {(one.dataset, one.priority): one.policy_id for one in there}
    for policy in new:
        if other := taken.get((policy.dataset, policy.priority)):
            left_out[policy.policy_id] = f"{other} of {policy.dataset} has its priority, {policy.priority}."
    added = tuple(one for one in new if one.policy_id not in left_out)
    for dataset in dict.fromkeys(one.dataset for one in added):
        for found in errors(dataset, tuple(one for one in (*there, *added) if one.dataset == dataset)):
            left_out |= {one.policy_id: found.message for one in added if (one.policy_id,) == found.policies}
    return left_out


def errors(dataset: str, policies: tuple[Policy, ...]) -> tuple[Finding, ...]:
    """What lint refuses in a set of policies."""
    chosen = PolicySet.of(dataset, policies)
    return tuple(found for found in lint(governed(dataset), chosen) if found.severity == "error")


def differences(before: Policy, after: Policy) -> tuple[Change, ...]:
    """The fields in which two versions differ."""
    old, new = _written(before), _written(after)
    return tuple(
        Change(field=name, before=str(old[name]), after=str(new[name])) for name in EDITABLE if old[name] != new[name]
    )


def _changed(policy: Policy, changes: Mapping[str, Any]) -> Policy:
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name in ("retention_days", "keep_days", "grace_days"):
            if not isinstance(value, int) or isinstance(value, bool):
                raise PolicyError(f"{policy.policy_id}: {name} is {value!r}.", hint="Write a whole number of days.")
            values["grace_seconds" if name == "grace_days" else "keep_seconds"] = value * 86_400
        elif name == "match":
            values["match"] = parse(str(value), governed(policy.dataset).fields)
        elif name == "tolerance":
            values["tolerance"] = tolerance_of(policy.policy_id, value)
        elif name in EDITABLE:
            values[name] = value
        else:
            raise PolicyError(
                f"{name!r} cannot be changed.", hint=f"Fields: {', '.join(EDITABLE)}, keep_days, grace_days."
            )
    if values.get("anchor", policy.anchor) not in governed(policy.dataset).anchors:
        raise PolicyError(
            f"{policy.dataset} has no anchor {values['anchor']!r}.",
            hint=f"Anchors: {', '.join(governed(policy.dataset).anchors)}.",
        )
    changed = replace(policy, **values)
    governed(changed.dataset).require_action(changed.policy_id, changed.action)
    governed(changed.dataset).require_tolerance(changed)
    return changed


def _lock(con: Connection) -> None:
    con.execute(select(func.pg_advisory_xact_lock(func.hashtext(literal(_LOCK)))))


def _current(con: Connection, dataset: str | None) -> list[Row[Any]]:
    query = select(TABLE).where(TABLE.c.superseded_at.is_(None)).order_by(TABLE.c.dataset, TABLE.c.priority.desc())
    if dataset is not None:
        query = query.where(TABLE.c.dataset == dataset)
    return list(con.execute(query))


def _insert(con: Connection, policy: Policy, *, created_by: str) -> None:
    con.execute(insert(TABLE).values(**_written(policy), created_by=created_by))


def _written(policy: Policy) -> dict[str, Any]:
    values = {name: getattr(policy, name) for name in Policy.__slots__}
    return values | {"match": text(policy.match), "tolerance": dict(policy.tolerance)}


def _policy(row: Row[Any]) -> Policy:
    values = {name: getattr(row, name) for name in Policy.__slots__}
    tolerance = tolerance_of(row.policy_id, row.tolerance)
    return Policy(**values | {"match": parse(row.match, governed(row.dataset).fields), "tolerance": tolerance})
