"""Keeping: what of a computed answer goes to memory and on its way to the tiers below.

What belongs here: the value object for an answer, and turning a result into one. What does not: writing (`below.py`),
and deciding whether the function runs (`steps.py`). Whatever goes wrong here costs the cache an entry, never the caller
the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache import codec
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.entry import LARGEST_PAYLOAD_BYTES, NewEntry, Payload
from retention_pipelines.cache.said import METADATA, member
from retention_pipelines.cache.spatial import Place
from retention_pipelines.errors import Unstorable

if TYPE_CHECKING:
    from retention_pipelines.cache.calls import Call


@dataclass(kw_only=True, slots=True)
class Answer:
    """An answer as the cache holds it.

    Attributes:
        value: never handed out itself unless `copier` is None.
        tier: where it was found; empty when the function ran.
        shareable: whether callers who waited may have it; a generator or a connection must be each caller's own.
        entry: what is to be written to the tiers below.
    """

    value: Any = None
    copier: Callable[[Any], Any] | None = None
    tier: str = ""
    age_seconds: float = 0.0
    remaining_seconds: float | None = None
    compute_seconds: float = 0.0
    size_bytes: int | None = None
    shareable: bool = True
    entry: NewEntry | None = None

    def handed_out(self) -> Any:
        """The value for a caller."""
        return self.value if self.copier is None else self.copier(self.value)


def keep(call: "Call", result: Any, seconds: float, computed_monotonic: float) -> Answer:
    """The answer to a computed result, in memory already; what cannot be kept exactly is not shareable."""
    cached, options = call.cached, call.cached.options
    try:
        if call.place is not None:
            result = call.original = _with_cell(call.place, result)
        payload = codec.encode(result)
        value, handing_out = cached.own(result)
    except Unstorable as error:
        return _unkept(call, str(error.message))
    except Exception as error:  # noqa: BLE001 - code of the result's own class may run; the caller has its result
        return _unkept(call, f"{type(error).__name__} while encoding", error)
    ttl: float | None
    if result is None and options.negative is not None and options.negative.none:
        ttl, below = options.negative.ttl_seconds, False
    else:
        ttl, below = cached.ttl_seconds(call.runtime), options.below
    answer = Answer(
        value=value,
        copier=handing_out,
        remaining_seconds=ttl,
        compute_seconds=seconds,
        size_bytes=len(payload.data),
    )
    if not cached.same_model(call):
        return _unkept(call, "the model changed while it was computed")
    if call.purpose == "revalidate" and not cached.still_asks(call):
        return _unkept(call, "the arguments were changed while it was computed")
    if not remember(call, answer, computed_monotonic):
        cached.count("dropped", "memory", reason="invalidated while it was computed", key=call.key)
        return answer
    if below and len(payload.data) > LARGEST_PAYLOAD_BYTES:
        reason = f"more than the {LARGEST_PAYLOAD_BYTES} bytes of one entry; cache_training_data keeps large results"
        cached.count("unstorable", "postgres", reason=reason, key=call.key)
    elif below:
        answer.entry = NewEntry(
            kind=options.kind,
            key=call.key,
            payload=payload,
            computed_monotonic=computed_monotonic,
            ttl_seconds=ttl,
            compute_seconds=seconds,
            function=cached.name,
            tags=options.tags,
            columns=_columns(call, result, payload),
            as_of_seq=call.seen_seq,
        )
    return answer


def _with_cell(place: Place, result: Any) -> Any:
    """A result that states whose cell it answers for, where it has metadata to say it in; else the result itself."""
    name = next((name for name in METADATA if type(member(result, name)) is dict), None)
    if name is None or "location_grid" in member(result, name):
        return result
    copy = copier(result)
    if copy is None:
        return result
    # A copy: the function may keep what it returned.
    stated = copy(result)
    member(stated, name).update(location_grid=place.cell.name, cell_deg=place.cell.cell_deg)
    return stated


def remember(call: "Call", answer: Answer, computed_monotonic: float) -> bool:
    """Put an answer into memory, unless what it rests on was invalidated since the call began."""
    cached, runtime = call.cached, call.runtime
    options, left, recent = cached.options, answer.remaining_seconds, runtime.recent
    with recent.lock:
        # Most of the time nothing was said.
        if recent.applied != call.seen and call.is_outdated():
            return False
        if cached.in_memory:
            runtime.memory.put(
                call.key,
                answer.value,
                size_bytes=answer.size_bytes or 0,
                ttl_seconds=None if left is None else answer.age_seconds + left,
                computed_monotonic=computed_monotonic,
                compute_seconds=answer.compute_seconds,
                copy=answer.copier,
                function=cached.name,
                tags=options.tags,
                model=call.model_id,
                source=options.source or "",
                stale_seconds=cached.stale_seconds,
                owned=True,
                encoded=True,
            )
    return True


def _columns(call: "Call", result: Any, payload: Payload) -> Mapping[str, Any]:
    try:
        return call.cached.describe(call, result, payload)
    except Exception as error:  # noqa: BLE001 - descriptions are for reports; an entry without them is still right
        call.cached.count("error", "", reason=f"{type(error).__name__} while describing the entry", key=call.key)
        return {}


def _unkept(call: "Call", reason: str, error: Exception | None = None) -> Answer:
    call.cached.count("unstorable", "", reason=reason, key=call.key, error=error)
    return Answer(shareable=False)
