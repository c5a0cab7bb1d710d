"""Policies as the guide knows them: a manager that previews all of them and edits one.

What belongs here: the old names over `retention`. What does not: any rule. Nothing here needs a running event loop.
"""

import asyncio
from collections.abc import Generator, Mapping
from typing import Any, TypedDict

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.engine import open_engine
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.planning import planner
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.policies.registry import PolicyRegistry
from retention_pipelines.settings import Settings


class PolicyOutcome(TypedDict):
    """What executing a policy would do, counted now.

    `records_affected` is what would go, `records_expired` also counts what is left for a later run because too little
    of its partition has expired; `plan_sha256` names the plan.
    """

    dataset: str
    version: int
    action: str
    records_total: int
    records_expired: int
    records_affected: int
    as_of: str
    plan_sha256: str


class PolicyReport(dict[str, PolicyOutcome]):
    """Outcomes by policy. It may be awaited, and is itself the answer: the guide does both."""

    def __await__(self) -> Generator[None, None, "PolicyReport"]:
        """Answer at once: the work is done."""
        yield from ()
        return self


class PolicyManager:
    """Previews and edits the retention policies of these settings."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings

    @property
    def settings(self) -> Settings:
        """The settings given, or those the caches of this process use, read-only mode and all."""
        return self._settings or runtimes.settings_in_use()

    def execute_all_policies(self, dry_run: bool = True) -> PolicyReport:
        """Plan every enabled policy at one instant; nothing is removed.

        Raises PolicyError for `dry_run=False`: a plan is executed by its hash, after somebody could read it.
        """
        if not dry_run:
            raise PolicyError(
                "Policies are not executed all at once, unseen.",
                hint="Call execute_all_policies(dry_run=True) to see what each would do.",
            )
        with planner(self.settings) as planning:
            return PolicyReport({policy.policy_id: _outcome(policy, plan) for policy, plan in planning.plan_all()})

    async def update_policy(self, policy_id: str, updates: Mapping[str, Any]) -> Policy:
        """Change fields of a policy, such as `{"retention_days": 30}`; returns its new version."""
        return await asyncio.to_thread(self._update, policy_id, updates)

    def get_policies(self) -> dict[str, Policy]:
        """The policies in force, by id."""
        with open_server(self.settings) as server:
            engine = open_engine(server)
            try:
                return {policy.policy_id: policy for policy in PolicyRegistry(engine).current()}
            finally:
                engine.dispose()

    def _update(self, policy_id: str, updates: Mapping[str, Any]) -> Policy:
        self.settings.require_full("Changing a policy")
        with open_server(self.settings) as server:
            engine = open_engine(server)
            try:
                registry = PolicyRegistry(engine)
                registry.load_defaults()
                before = registry.get(policy_id)
                changed = registry.proposed(policy_id, updates)
                return registry.set(changed, created_by="guide", expected_version=before.version)
            finally:
                engine.dispose()


def get_policy_manager(settings: Settings | None = None) -> PolicyManager:
    """The policy manager; needs neither a running event loop nor a connection until it is asked something."""
    return PolicyManager(settings)


def _outcome(policy: Policy, plan: Plan) -> PolicyOutcome:
    return {
        "dataset": policy.dataset,
        "version": policy.version,
        "action": policy.action,
        "records_total": plan.total_rows,
        "records_expired": plan.expired_rows,
        "records_affected": plan.removed_rows,
        "as_of": plan.as_of.isoformat(),
        "plan_sha256": plan.sha256,
    }
