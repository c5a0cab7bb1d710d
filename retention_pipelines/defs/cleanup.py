"""Retention as assets: one per policy of the package, one for all others, one for what is unfinished or due.

Materializing a policy executes it: `Runner.execute_policy`, nothing more. What belongs here: assets, jobs and when
which policy runs. What does not: what a run does (`retention.run`), how its outcome is told (`outcomes.py`), what
Dagster forgets (`forgotten.py`), sensors (`cleanup_sensors.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import dagster as dg
import yaml
from dagster import MetadataValue
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from retention_pipelines.catalog import DATASETS
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.errors import RetentionError

Lakes = dg.ResourceParam[LakeResource]
GROUP = "retention"
OWNERS = ["team:data-engineering"]
# One run with this tag at a time (dagster.yaml); runs that write to the lake go one after another anyway (pool `lake`).
CLEANUP_TAGS = {"retention/cleanup": "true"}
SWEEP, OTHERS, PREVIEWS = "retention_sweep", "other_policies", "policy_previews"
# What expires within days is looked for daily; where a year or more is kept, a week does not matter, and each look
# reads the whole dataset. A policy of the package that is not named here runs daily.
WEEKLY = ("fs_high_quality", "fs_medium_quality", "fs_unknown_quality", "as_seasonal", "as_other")
MONTHLY = ("pm_raw",)
Result = dg.MaterializeResult[None]


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A policy of the package as its file has it; what is in force is in the database."""

    policy_id: str
    dataset: str
    match: str
    reason: str


@cache
def packaged_policies() -> tuple[Packaged, ...]:
    """The policies of the package: their names make the assets, so that loading those needs no database.

    Not by `retention.defaults`, whose imports would take longer than all of this package's definitions.
    """
    text = files("retention_pipelines.retention.policies").joinpath("policies.yaml").read_text(encoding="utf-8")
    return tuple(
        Packaged(policy_id=one["id"], dataset=dataset, match=one["match"], reason=one["reason"])
        for dataset, listed in yaml.safe_load(text).items()
        for one in listed
    )


def policy_asset(policy: Packaged) -> dg.AssetsDefinition:
    """The asset of a policy. Where it is switched off, or nobody meant it, it says so and is not materialized."""

    @dg.asset(
        key=policy.policy_id,
        deps=[policy.dataset] if policy.dataset in DATASETS else [],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake" if policy.dataset in DATASETS else "postgres"},
        description=f"{policy.reason}\n\nExecutes the policy on `{policy.dataset}`: {policy.match}. The version in "
        f"force: `retention policies show {policy.policy_id}`.",
        code_version="1",
        pool="lake",
        output_required=False,
    )
    def carried_out(context: dg.AssetExecutionContext, lake: Lakes) -> Iterator[Result]:
        from retention_pipelines.defs.forgotten import settle_partitions
        from retention_pipelines.defs.outcomes import failing_visibly, outcome_metadata
        from retention_pipelines.retention.runs.run import runner

        if not is_meant(context):
            return
        with failing_visibly(), runner(lake.settings) as opened:
            chosen = opened.planner.registry.get(policy.policy_id)
            if not chosen.enabled:
                _say(context, f"{chosen} is switched off: nothing was planned.")
                return
            done = opened.execute_policy(chosen, actor=actor(context.run.run_id))
            forgotten = settle_partitions(context.instance, opened, done.dataset)
            yield dg.MaterializeResult(
                metadata=outcome_metadata(done, opened.store.record(done.plan_sha256), str(chosen))
                | {"forgotten_partitions": MetadataValue.json(forgotten)}
            )

    made: dg.AssetsDefinition = carried_out
    return made


@dg.asset(
    key=OTHERS,
    group_name=GROUP,
    owners=OWNERS,
    description="Executes the enabled policies that are not in the package: those somebody added. One that a guard "
    "refuses does not keep the others from running; then this fails with every reason.",
    code_version="1",
    pool="lake",
    output_required=False,
)
def other_policies(context: dg.AssetExecutionContext, lake: Lakes) -> Iterator[Result]:
    """Which there are is asked when it runs."""
    from retention_pipelines.defs.forgotten import settle_partitions
    from retention_pipelines.defs.outcomes import fail, failing_visibly, outcomes_table
    from retention_pipelines.retention.runs.run import runner

    if not is_meant(context):
        return
    known = {policy.policy_id for policy in packaged_policies()}
    outcomes, errors = {}, {}
    with failing_visibly(), runner(lake.settings) as opened:
        for policy in opened.planner.registry.current():
            if policy.enabled and policy.policy_id not in known:
                try:
                    outcomes[str(policy)] = opened.execute_policy(policy, actor=actor(context.run.run_id))
                except RetentionError as error:
                    errors[str(policy)] = error
                    context.log.error(f"{policy}: {error}")
        for dataset in sorted({done.dataset for done in outcomes.values()}):
            settle_partitions(context.instance, opened, dataset)
    told = outcomes_table(outcomes)
    if errors:
        raise fail(errors, told)
    yield dg.MaterializeResult(metadata=told)


@dg.asset(
    key=SWEEP,
    group_name=GROUP,
    owners=OWNERS,
    description="Goes on with runs that a crash ended, lets go for good of what has been out of its grace, and makes "
    "the partitions that Dagster shows agree with what retention left.",
    code_version="1",
    pool="lake",
    output_required=False,
)
def retention_sweep(context: dg.AssetExecutionContext, lake: Lakes) -> Iterator[Result]:
    """A run that cannot go on does not keep the others from being swept; then this fails with every reason."""
    from retention_pipelines.defs.forgotten import BY_MONTH, settle_partitions
    from retention_pipelines.defs.outcomes import fail, failing_visibly, outcomes_table
    from retention_pipelines.retention.policies.governed import GOVERNED
    from retention_pipelines.retention.runs.run import RESUMABLE, runner

    if not is_meant(context):
        return
    outcomes, errors = {}, {}
    with failing_visibly(), runner(lake.settings) as opened:
        for record in opened.store.open():
            if record.state in RESUMABLE:
                name = f"{record.dataset}, plan {record.sha256[:12]}"
                try:
                    outcomes[name] = opened.execute(record.sha256, actor=actor(context.run.run_id))
                except RetentionError as error:
                    errors[name] = error
        for dataset in dict.fromkeys((*GOVERNED, *BY_MONTH)):
            try:
                # Datasets that no policy governs lose rows to erasures only.
                for done in opened.sweep(dataset, actor=actor(context.run.run_id)) if dataset in GOVERNED else ():
                    outcomes[f"{dataset}, plan {done.plan_sha256[:12]}"] = done
                settle_partitions(context.instance, opened, dataset)
            except RetentionError as error:
                errors[dataset] = error
    told = outcomes_table(outcomes)
    if errors:
        raise fail(errors, told)
    yield dg.MaterializeResult(metadata=told)


def actor(run_id: str) -> str:
    """Who the audit says it was: the account and machine, and the run that Dagster's page shows."""
    from retention_pipelines.retention.runs.lock import who_am_i

    return f"{who_am_i()}, Dagster run {run_id[:8]}"


def is_meant(context: dg.AssetExecutionContext) -> bool:
    """Whether a run may remove anything: not one that computes datasets, too, as "Materialize all" starts them."""
    # Of the job as it runs: the run's own selection is empty where somebody starts the job of all assets.
    chosen = context.job_def.asset_layer.executable_asset_keys
    others = sorted(key.to_user_string() for key in chosen if key.to_user_string() in DATASETS)
    if not others and "dagster/backfill" not in context.run.tags:
        return True
    _say(
        context,
        "Nothing was removed: this run was asked for other assets, too. Materialize what is in this group on its own.",
    )
    return False


def _say(context: dg.AssetExecutionContext, text: str) -> None:
    context.log.info(text)
    context.log_event(dg.AssetObservation(context.asset_key, description=text))


def _job(name: str, selection: tuple[str, ...], why: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(name, selection=list(selection), description=why, tags=CLEANUP_TAGS)


POLICIES = tuple(policy_asset(policy) for policy in packaged_policies())
DAILY = tuple(one.policy_id for one in packaged_policies() if one.policy_id not in (*WEEKLY, *MONTHLY))
daily_job = _job(
    "daily_cleanup",
    (SWEEP, *DAILY, OTHERS),
    "What crashed or is due; expired caches, training sets, low quality; policies that somebody added.",
)
weekly_job = _job("weekly_cleanup", WEEKLY, "Aggregations, and features that are kept for a year or more.")
monthly_job = _job("monthly_cleanup", MONTHLY, "Metrics.")

ASSETS = (retention_sweep, *POLICIES, other_policies)
JOBS = (daily_job, weekly_job, monthly_job)
