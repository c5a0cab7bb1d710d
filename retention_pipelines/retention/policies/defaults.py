"""The default policies, read from `policies.yaml`; the same reader takes a file somebody edited."""

from importlib.resources import files
from typing import Any

import yaml

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.policies.governed import governed
from retention_pipelines.retention.policies.policy import Policy, tolerance_of

_DAY_SECONDS = 86_400
_NAMES = frozenset(
    {"id", "priority", "match", "keep_days", "keep_seconds", "anchor", "action", "enabled", "grace_days", "reason"}
    | {"tolerance"}
)
_REQUIRED = ("id", "priority", "match", "reason")


def default_policies() -> tuple[Policy, ...]:
    """The policies of the package, version 1 of each."""
    return read_policies(
        files("retention_pipelines.retention.policies").joinpath("policies.yaml").read_text(encoding="utf-8")
    )


def read_policies(text: str) -> tuple[Policy, ...]:
    """Policies from YAML, by dataset; raises PolicyError that names the policy and what to do."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PolicyError(f"The policies are not YAML: {error}") from None
    if not isinstance(document, dict):
        raise PolicyError("The policies are not a map.", hint="Write `dataset:` and below it a list of policies.")
    policies = []
    for dataset, listed in document.items():
        if not isinstance(listed, list):
            raise PolicyError(f"{dataset} holds no list of policies.", hint="Start each one with `- id: …`.")
        policies += [_policy(str(dataset), written) for written in listed]
    seen: set[str] = set()
    for policy in policies:
        if policy.policy_id in seen:
            raise PolicyError(f"{policy.policy_id} is there twice.", hint="Give each policy its own id.")
        seen.add(policy.policy_id)
    return tuple(policies)


def _policy(dataset: str, written: Any) -> Policy:
    if not isinstance(written, dict):
        raise PolicyError(f"{written!r} is not a policy of {dataset}.", hint="Write `id`, `priority`, `match`, …")
    name = str(written.get("id", "a policy"))
    unknown = sorted(set(map(str, written)) - _NAMES)
    if unknown:
        raise PolicyError(f"{name}: {unknown[0]!r} is not known.", hint=f"Known: {', '.join(sorted(_NAMES))}.")
    missing = [key for key in _REQUIRED if key not in written]
    if missing:
        raise PolicyError(f"{name}: {missing[0]!r} is missing.", hint="A policy needs id, priority, match and reason.")
    if ("keep_days" in written) == ("keep_seconds" in written):
        raise PolicyError(f"{name}: give either keep_days or keep_seconds.")
    enabled = written.get("enabled", True)
    if not isinstance(enabled, bool):
        raise PolicyError(f"{name}: enabled is {enabled!r}.", hint="Write true or false.")
    target = governed(dataset)
    anchor = written.get("anchor", "computed_at")
    if anchor not in target.anchors:
        raise PolicyError(
            f"{name}: {dataset} has no anchor {anchor!r}.", hint=f"Anchors of {dataset}: {', '.join(target.anchors)}."
        )
    policy = Policy(
        policy_id=name,
        version=1,
        dataset=dataset,
        match=parse(str(written["match"]), target.fields),
        keep_seconds=_seconds(name, written, "keep"),
        priority=_whole(name, "priority", written["priority"]),
        reason=str(written["reason"]),
        anchor=anchor,
        action=written.get("action", "delete"),
        enabled=enabled,
        grace_seconds=_whole(name, "grace_days", written.get("grace_days", 7)) * _DAY_SECONDS,
        tolerance=tolerance_of(name, written.get("tolerance", {})),
    )
    target.require_action(name, policy.action)
    target.require_tolerance(policy)
    return policy


def _seconds(name: str, written: dict[str, Any], noun: str) -> int:
    if f"{noun}_days" in written:
        return _whole(name, f"{noun}_days", written[f"{noun}_days"]) * _DAY_SECONDS
    return _whole(name, f"{noun}_seconds", written[f"{noun}_seconds"])


def _whole(name: str, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise PolicyError(f"{name}: {key} is {value!r}.", hint="Write a whole number.")
    return value
