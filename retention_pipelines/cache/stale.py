"""Stale answers: how long after its expiry an entry may still be served, where a function opted in (RFC 5861).

Without `stale_while_revalidate` and `stale_if_error` no expired value is ever served. Pure; who acts on it is
`calls.py`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """What a function opted in to, in seconds after expiry."""

    while_revalidate: float = 0.0
    if_error: float = 0.0

    @property
    def longest(self) -> float:
        """Seconds an expired entry can be of any use."""
        return max(self.while_revalidate, self.if_error)


Use = Literal["fresh", "revalidate", "if_error", "no"]


def use_of(remaining_seconds: float | None, allowed: Staleness) -> Use:
    """What an entry with so much life left (negative: expired since) may be used for."""
    if remaining_seconds is None or remaining_seconds > 0:
        return "fresh"
    expired_since = -remaining_seconds
    # Not <=: with nothing allowed an entry that expires in this very instant is no answer.
    if expired_since < allowed.while_revalidate:
        return "revalidate"
    return "if_error" if expired_since < allowed.if_error else "no"
