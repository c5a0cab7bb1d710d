"""After somebody edited a policy: what the edit changes, and the plan that executing it now would follow.

The sensor notices new versions in the registry; the run makes plans and puts them on record, and removes nothing. What
does not belong here: executing (`cleanup.py`), what an edit shows before it is saved (the command line).
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DefaultSensorStatus, MetadataValue, TableRecord
from pydantic import Field

from retention_pipelines.defs.cleanup import GROUP, OWNERS, PREVIEWS, actor
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.errors import RetentionError

if TYPE_CHECKING:
    from retention_pipelines.retention.policies.policy import Policy
    from retention_pipelines.retention.policies.registry import PolicyRegistry
    from retention_pipelines.retention.runs.run import Runner

Lakes = dg.ResourceParam[LakeResource]


class Edits(dg.Config):
    """Edited policies, each with the version it had before (0: it was not there); none: every policy in force."""

    before: dict[str, int] = Field(default_factory=dict)


@dg.asset(
    key=PREVIEWS,
    group_name=GROUP,
    owners=OWNERS,
    description="What edits of policies change: rows that have expired before and after, and the plan that executing "
    "the new version now would follow. Plans are put on record; nothing is removed.",
    code_version="1",
    pool="lake",
)
def policy_previews(context: dg.AssetExecutionContext, config: Edits, lake: Lakes) -> dg.MaterializeResult[None]:
    """One line per policy; a policy that cannot be planned says why and keeps no other from being shown."""
    from retention_pipelines.defs.outcomes import failing_visibly
    from retention_pipelines.retention.runs.run import runner

    with failing_visibly(), runner(lake.settings) as opened:
        known = {policy.policy_id: policy for policy in opened.planner.registry.current()}
        edited = config.before or {name: policy.version for name, policy in known.items()}
        rows = [
            _preview(opened, known[name], version, actor(context.run.run_id))
            for name, version in sorted(edited.items())
            if name in known
        ]
    return dg.MaterializeResult(
        metadata={"policies": len(rows)} | ({"previews": MetadataValue.table(rows)} if rows else {})
    )


def _preview(opened: "Runner", policy: "Policy", before: int, who: str) -> TableRecord:
    told: dict[str, str | int] = {"policy": str(policy), "was": f"v{before}" if before else "not there", "effect": ""}
    told |= {"expired": "", "would_go": "", "plan_sha256": "", "execute": ""}
    try:
        if before != policy.version:
            told["effect"] = _effect(opened, policy, before)
        if not policy.enabled:
            return TableRecord(told | {"expired": "switched off: removes nothing"})
        plan = opened.plan(policy, actor=who)
    except RetentionError as error:
        return TableRecord(told | {"expired": f"cannot be planned: {error}"})
    return TableRecord(
        told
        | {
            "expired": f"{plan.expired_rows:,} of {plan.total_rows:,}",
            "would_go": plan.removed_rows,
            "plan_sha256": plan.sha256,
            "execute": f"retention run {plan.sha256[:12]}",
        }
    )


def _effect(opened: "Runner", policy: "Policy", before: int) -> str:
    """What the edit changed: the effect of taking it back, read the other way round."""
    registry = opened.planner.registry
    previous = registry.get(policy.policy_id, before) if before else replace(policy, enabled=False)
    effect = opened.planner.effect(previous)
    return replace(effect, before=effect.after, after=effect.before).sentence()


preview_job = dg.define_asset_job(
    "preview_policies", selection=[PREVIEWS], description="Show what edited policies would do; nothing is removed."
)


def versions(registry: "PolicyRegistry") -> dict[str, int]:
    """The version in force of every policy."""
    return {policy.policy_id: policy.version for policy in registry.current()}


@dg.sensor(
    job=preview_job,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for previews when policies were edited, by any way.",
)
def policy_edits(context: dg.SensorEvaluationContext, lake: Lakes) -> dg.SensorResult:
    """The cursor is the versions seen; the run key is the new ones, so one edit is shown once."""
    from retention_pipelines.postgres.address import EVERY_TENANT
    from retention_pipelines.postgres.engine import open_engine
    from retention_pipelines.postgres.server import open_server
    from retention_pipelines.retention.policies.registry import PolicyRegistry

    if lake.settings.mode != "full":
        return dg.SensorResult(skip_reason="The mode is read_only: plans cannot be put on record.")
    try:
        with open_server(lake.settings) as server:
            engine = open_engine(server, tenant=EVERY_TENANT)
            try:
                found = versions(PolicyRegistry(engine))
            finally:
                engine.dispose()
    except RetentionError as error:
        return dg.SensorResult(skip_reason=f"The policies cannot be read: {error.message}", cursor=context.cursor)
    if not found:
        return dg.SensorResult(skip_reason="No policies yet: the first run loads those of the package.")
    cursor = json.dumps(found, sort_keys=True)
    if context.cursor is None:
        return dg.SensorResult(skip_reason=f"{len(found)} policies; edits are shown from now on.", cursor=cursor)
    seen: dict[str, int] = json.loads(context.cursor)
    edited = {name: seen.get(name, 0) for name, version in found.items() if seen.get(name) != version}
    if not edited:
        return dg.SensorResult(skip_reason="No policy was edited.", cursor=cursor)
    key = "policies:" + ",".join(f"{name}:{found[name]}" for name in sorted(edited))
    request = dg.RunRequest(
        run_key=key,
        run_config=dg.RunConfig(ops={PREVIEWS: Edits(before=edited)}),
        tags={"retention/edited": str(len(edited))},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


ASSETS = (policy_previews,)
JOBS = (preview_job,)
SENSORS = (policy_edits,)
