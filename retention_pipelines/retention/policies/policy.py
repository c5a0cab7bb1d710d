"""Policies: what they are, and which one governs a row.

What belongs here: the value objects and their bounds. What does not: where they are stored (`registry.py`), the
decision on a row (`decide.py`), warnings about a whole set (`lint.py`).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.filter.ast import Everything, Filter
from retention_pipelines.retention.filter.text import text

Anchor = Literal["computed_at", "last_used", "expires_at"]
Action = Literal["delete", "archive", "compress", "downsample", "migrate"]
# A hundred years of 365 days: longer ones are a typing error, and the horizon must stay a date.
MAX_SECONDS = 100 * 365 * 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One rule: rows that `match` are kept for `keep_seconds` from their anchor, then `action` happens.

    Attributes:
        priority: unique in the dataset; of the policies that match a row the one with the highest governs it.
        grace_seconds: how long what went can be brought back.
        reason: why this number, a sentence.
        tolerance: by how much compressing may change values, by column, in its unit; empty: not at all.
    """

    policy_id: str
    version: int
    dataset: str
    match: Filter
    keep_seconds: int
    priority: int
    reason: str
    anchor: Anchor = "computed_at"
    action: Action = "delete"
    enabled: bool = True
    grace_seconds: int = 7 * 86_400
    tolerance: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("anchor", get_args(Anchor)), ("action", get_args(Action))):
            if getattr(self, name) not in allowed:
                raise PolicyError(
                    f"{self.policy_id}: {name} is {getattr(self, name)!r}.", hint=f"One of {', '.join(allowed)}."
                )
        for name in ("keep_seconds", "grace_seconds"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_SECONDS:
                raise PolicyError(
                    f"{self.policy_id}: {name} is {seconds!r}.",
                    hint=f"Whole seconds from 0 to {MAX_SECONDS} (100 years of 365 days).",
                )
        if self.keep_seconds == 0 and self.anchor != "expires_at":
            # P8: keep 0 from the last access would let every live row go.
            raise PolicyError(
                f"{self.policy_id}: keeping for 0 seconds lets every row go at once.",
                hint="Only a policy anchored at expires_at may keep for 0 seconds.",
            )
        if self.tolerance and self.action != "compress":
            raise PolicyError(
                f"{self.policy_id}: a tolerance is for compressing, and the action is {self.action}.",
                hint="Set action to compress, or leave the tolerance out.",
            )
        if not isinstance(self.enabled, bool):
            raise PolicyError(f"{self.policy_id}: enabled is {self.enabled!r}.", hint="Give true or false.")
        if not isinstance(self.priority, int) or isinstance(self.priority, bool) or abs(self.priority) >= 2**31:
            raise PolicyError(f"{self.policy_id}: priority is {self.priority!r}.", hint="Give a whole number, as 250.")
        for name in ("policy_id", "reason"):
            if not isinstance(getattr(self, name), str) or "\0" in getattr(self, name):
                raise PolicyError(f"{self.policy_id!r}: {name} is {getattr(self, name)!r}.", hint="Give a text.")
        if not self.policy_id.strip():
            raise PolicyError("A policy has no id.", hint="Give each its own, as fs_low_quality.")
        if not self.reason.strip():
            raise PolicyError(f"{self.policy_id}: no reason is given.", hint="Say in a sentence why this number.")

    def __str__(self) -> str:
        return f"{self.policy_id} v{self.version}"


def tolerance_of(policy_id: str, given: object) -> tuple[tuple[str, float], ...]:
    """A tolerance as a policy has it, of a map from columns to numbers; raises PolicyError."""
    if not isinstance(given, Mapping):
        raise PolicyError(f"{policy_id}: tolerance is {given!r}.", hint="Write a map, as {temperature_degc: 0.001}.")
    for name, most in given.items():
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if not is_number or not 1e-100 < most < 1e100:
            raise PolicyError(
                f"{policy_id}: the tolerance of {name} is {most!r}.",
                hint="Write by how much a value may change at most, in the column's unit, as 0.001.",
            )
    return tuple(sorted((str(name), float(most)) for name, most in given.items()))


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The enabled policies of one dataset, highest priority first. An empty set keeps everything."""

    dataset: str
    policies: tuple[Policy, ...]

    @classmethod
    def of(cls, dataset: str, policies: "tuple[Policy, ...] | list[Policy]") -> Self:
        """Those of the dataset that are enabled; raises PolicyError when two have the same priority."""
        mine = sorted(
            (policy for policy in policies if policy.dataset == dataset and policy.enabled),
            key=lambda policy: -policy.priority,
        )
        for above, below in itertools.pairwise(mine):
            if above.priority == below.priority:
                raise PolicyError(
                    f"{above.policy_id} and {below.policy_id} both have the priority {above.priority} in {dataset}.",
                    hint="Give each its own priority, so that one of them governs.",
                )
        return cls(dataset, tuple(mine))

    def places(self, action: Action, only: str | None = None) -> list[int]:
        """Places of the policies with an action; only the one of that id, where one is named."""
        if only is not None and only not in {policy.policy_id for policy in self.policies}:
            raise PolicyError(f"{only!r} is no enabled policy of {self.dataset}.")
        return [
            place
            for place, policy in enumerate(self.policies)
            if policy.action == action and only in (None, policy.policy_id)
        ]

    @property
    def catch_all(self) -> Policy | None:
        """The policy of lowest priority, if it matches everything."""
        return self.policies[-1] if self.policies and isinstance(self.policies[-1].match, Everything) else None


def describe(policy: Policy) -> str:
    """The rule in a line: `fs_low_quality v1: keep 90 d from computed_at if everything, then delete`."""
    days, rest = divmod(policy.keep_seconds, 86_400)
    keep = f"{days} d" if not rest else f"{policy.keep_seconds} s"
    within = ", ".join(f"{name} within {most:g}" for name, most in policy.tolerance)
    said = f"{policy}: keep {keep} from {policy.anchor} if {text(policy.match)}, then {policy.action}"
    return f"{said} ({within})" if within else said
