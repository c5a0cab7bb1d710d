"""Patching: exchange functions for redirected ones everywhere they are referred to, and take it back exactly.

What belongs here: applying a set of patches all or nothing, undoing them in any order, and telling what was found. What
does not: what the replacement does (`integrator.py`), finding references (`aliases.py`).

Every patch is a `redirect`: a thin function of ours that calls either the replacement or the original, by a switch.
So undoing takes effect at once and everywhere, even where Python does not let us find the reference; then every place
gets back the very object it had. What somebody else put in a place after us stays: it is told, not overwritten, and
where it refers to our redirect it refers to the original afterwards.
"""

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType
from typing import Any, Literal

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration import aliases
from retention_pipelines.integration.aliases import Found, Marked
from retention_pipelines.integration.places import ABSENT, Ours, Place
from retention_pipelines.integration.spots import Spot, is_async, locate

_log = logging.getLogger(__name__)
Replace = Callable[[Callable[..., Any]], Callable[..., Any]]
Aliases = Literal["patch", "ignore"]
_SHOWN = 12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request(Ours):
    """A patch asked for: `replacement` gets the original function and returns what to call instead."""

    spot: Spot
    replacement: Replace
    aliases: Aliases = "patch"


@dataclass(frozen=True, kw_only=True)
class Left:
    """A place that was not given back, because somebody else has put something else there."""

    target: str
    place: str
    found: str


@dataclass(frozen=True, kw_only=True)
class Undone:
    """What undoing did.

    Attributes:
        targets: those that were patched and are not any more.
        places: how many places got their object back.
        left: places somebody else has changed since.
    """

    targets: tuple[str, ...] = ()
    places: int = 0
    left: tuple[Left, ...] = ()


class _Switch(Marked):
    """Where a redirect leads."""

    __slots__ = ("function", "home", "now", "on", "raw")

    def __init__(self, spot: Spot) -> None:
        self.raw = spot.raw if spot.own else ABSENT
        self.home = spot.place.identity
        self.function = spot.function
        self.now = spot.function
        self.on = False

    def lead_to(self, replacement: Callable[..., Any]) -> None:
        self.now, self.on = replacement, True

    def lead_back(self) -> None:
        self.now, self.on = self.function, False


@dataclass(frozen=True, slots=True, eq=False)
class _Change(Ours):
    place: Place
    before: object
    after: object


@dataclass(kw_only=True, slots=True, eq=False)
class _Patch(Ours):
    request: Request
    spot: Spot
    switch: _Switch
    redirect: Callable[..., Any]
    changes: list[_Change] = field(default_factory=list)


class Patcher:
    """The patches of one owner."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._active: dict[tuple[int, str], _Patch] = {}
        self._lingering: list[_Patch] = []

    @property
    def targets(self) -> tuple[str, ...]:
        """What is patched now."""
        with self._lock:
            return tuple(patch.spot.target for patch in self._active.values())

    def covered(self) -> tuple[Left, ...]:
        """Patched attributes where somebody else has put something since."""
        with self._lock:
            return tuple(
                Left(target=change_of.spot.target, place=change.place.label, found=_shown(change.place.read()))
                for change_of in self._active.values()
                for change in change_of.changes[:1]
                if change.place.read() is not change.after
            )

    def places(self, target: str) -> tuple[str, ...]:
        """Where the object of a patched target was exchanged, the attribute itself first."""
        with self._lock:
            for patch in self._active.values():
                if patch.spot.target == target:
                    return tuple(change.place.label for change in patch.changes)
        return ()

    def apply(self, requests: Sequence[Request]) -> tuple[str, ...]:
        """Patch all of them or, if one cannot be, none; returns the targets that were not patched before.

        A target that is patched already stays as it is. If somebody else has put something on top of it since, the
        patch is taken back first and made anew on top of that.
        """
        with self._lock:
            self._settle()
            covered = {id(patch) for patch in self._active.values() if not _in_place(patch)}
            self._undo([patch for patch in self._active.values() if id(patch) in covered])
            new: dict[tuple[int, str], Request] = {}
            for request in map(self._fresh, requests):
                key = id(request.spot.owner), request.spot.name
                if key in new:
                    raise IntegrationError(
                        f"{new[key].spot.target} and {request.spot.target} name the same attribute.",
                        hint="Configure it once.",
                    )
                if key not in self._active:
                    self._refuse_alias(request)
                    new[key] = request
            asked = len(new)
            heirs = self._heirs(list(new.values()))
            self._undo(heirs)
            new |= {(id(heir.spot.owner), heir.spot.name): heir.request for heir in heirs}
            made = self._make(list(new.values()))
            self._active.update(zip(new, made, strict=True))
            return tuple(patch.spot.target for patch in made[:asked])

    def undo(self, targets: Sequence[str] | None = None) -> Undone:
        """Take patches back, all or those named; what is not patched is passed over."""
        with self._lock:
            self._settle()
            return self._undo(
                [p for p in self._active.values() if targets is None or p.spot.target in targets], final=True
            )

    def _fresh(self, request: Request) -> Request:
        """The request for what stands there now; what a class inherits is the original, patched or not."""
        spot = request.spot
        current = spot.place.read()
        if current is not (spot.raw if spot.own else ABSENT):
            spot = locate(spot.target, load=False)
        if not spot.own and (switch := _switch_of(spot.raw)) is not None and self._is_mine(switch):
            spot = replace(spot, function=switch.function)
        return replace(request, spot=spot)

    def _is_mine(self, switch: _Switch) -> bool:
        return any(patch.switch is switch for patch in self._active.values())

    def _heirs(self, requests: list[Request]) -> list[_Patch]:
        """Patches of inherited methods whose original is about to be patched, too: to be made beside it, not below."""
        about = {id(request.spot.function) for request in requests}
        return [patch for patch in self._active.values() if not patch.spot.own and id(patch.spot.function) in about]

    def _refuse_alias(self, request: Request) -> None:
        switch = _switch_of(request.spot.raw) if request.spot.own else None
        for patch in self._active.values():
            if patch.switch is switch:
                raise IntegrationError(
                    f"{request.spot.target} is {patch.spot.target}, which is patched already.",
                    hint="Configure it once.",
                )

    def _make(self, requests: list[Request]) -> list[_Patch]:
        searched = [request for request in requests if request.aliases == "patch" and request.spot.own]
        found = aliases.find(request.spot.function for request in searched) if searched else Found()
        _refuse(searched, found)
        patches: list[_Patch] = []
        try:
            for request in requests:
                switch = _Switch(request.spot)
                redirect = _redirect(request.spot.function, switch)
                switch.lead_to(request.replacement(request.spot.function))
                patch = _Patch(request=request, spot=request.spot, switch=switch, redirect=redirect)
                patches.append(patch)
                primary = request.spot.place
                made = {id(request.spot.raw): _descriptor(request.spot, redirect)}
                _write(patch, primary, made[id(request.spot.raw)])
                for site in found.sites:
                    if site.chain.root is request.spot.function and site.place.identity != primary.identity:
                        # One object that several places hold stays one object.
                        held = id(site.chain.value)
                        if held not in made:
                            made[held] = site.chain.rebuilt(redirect)
                        _write(patch, site.place, made[held])
        except BaseException as error:
            self._undo(patches)
            if isinstance(error, (TypeError, AttributeError)):
                raise IntegrationError(f"{patches[-1].spot.target}: {error}.", hint="Nothing was changed.") from error
            raise
        return patches

    def _undo(self, patches: list[_Patch], *, final: bool = False) -> Undone:
        if not patches:
            return Undone()
        places = 0
        for patch in patches:
            patch.switch.lead_back()
            for change in reversed(patch.changes):
                if change.place.read() is change.after:
                    _give_back(change)
                    places += 1
        places += _exchange_back(patches)
        left = tuple(
            Left(target=patch.spot.target, place=change.place.label, found=_shown(change.place.read()))
            for patch in patches
            for change in patch.changes[:1]
            if change.place.read() is not _original(change.before, change.place)
        )
        done = {id(patch) for patch in patches}
        self._active = {key: patch for key, patch in self._active.items() if id(patch) not in done}
        if final:
            named = {item.target for item in left}
            self._lingering += [patch for patch in patches if patch.spot.target in named]
        for item in left:
            _log.warning(
                "%s: left as it is, somebody else has put %s there; it leads to the original now",
                item.place,
                item.found,
            )
        return Undone(targets=tuple(patch.spot.target for patch in patches), places=places, left=left)

    def _settle(self) -> None:
        """Give back attributes into which somebody else has put a redirect of ours that is over."""
        kept: list[_Patch] = []
        for patch in self._lingering:
            change = patch.changes[0]
            there = change.place.read()
            if there is change.after or (change.before is ABSENT and there is patch.spot.raw):
                _give_back(change)
            elif there is not change.before:
                kept.append(patch)
        self._lingering = kept


def _in_place(patch: _Patch) -> bool:
    change = patch.changes[0]
    return change.place.read() is change.after


def _write(patch: _Patch, place: Place, value: object) -> None:
    change = _Change(place, place.read(), value)
    patch.changes.append(change)
    place.write(value)


def _refuse(requests: list[Request], found: Found) -> None:
    lines = []
    for request in requests:
        labels = [fixed.label for fixed in found.fixed if fixed.root is request.spot.function]
        if labels:
            shown = "; ".join(labels[:_SHOWN]) + ("; …" if len(labels) > _SHOWN else "")
            lines.append(f"{request.spot.target} is also held by {shown}")
    if lines:
        raise IntegrationError(
            f"{'. '.join(lines)}. There it cannot be exchanged, so calls through it would not be cached.",
            hint="Nothing was changed. With `aliases: ignore` the target is patched at its own name only.",
        )


def _redirect(function: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
    def redirect(*args: Any, **kwargs: Any) -> Any:
        return switch.now(*args, **kwargs)

    async def redirect_async(*args: Any, **kwargs: Any) -> Any:
        return await switch.now(*args, **kwargs)

    chosen: Callable[..., Any] = redirect_async if is_async(function) else redirect
    functools.update_wrapper(chosen, function)
    aliases.mark(chosen, switch)
    return chosen


def _descriptor(spot: Spot, redirect: Callable[..., Any]) -> object:
    """The redirect in the wrapping that `raw` has."""
    match spot.raw:
        case staticmethod():
            return staticmethod(redirect)
        case classmethod():
            return classmethod(redirect)
        case property() as prop:
            return property(redirect, prop.fset, prop.fdel, prop.__doc__)
        case raw if isinstance(spot.owner, type) and not hasattr(type(raw), "__get__"):
            return staticmethod(redirect)  # an object that is called: Python would not bind it
        case _:
            return redirect


def _switch_of(value: object) -> _Switch | None:
    inner = value
    if isinstance(value, (staticmethod, classmethod, MethodType)):
        inner = value.__func__
    elif isinstance(value, property):
        inner = value.fget
    found = aliases.marked(inner)
    return found if isinstance(found, _Switch) else None


def _original(value: object, place: Place) -> object:
    """`value`, or what a redirect that is over stands for there: another patcher's, taken back in another order."""
    while (switch := _switch_of(value)) is not None and not switch.on:
        if place.identity == switch.home:
            value = switch.raw
        elif isinstance(value, MethodType):
            value = MethodType(switch.function, value.__self__)
        elif switch.raw is ABSENT and isinstance(value, (staticmethod, classmethod)):
            value = type(value)(switch.function)
        else:
            # Elsewhere, too, the descriptor itself may be held: it is given back, not the function in it.
            value = switch.function if switch.raw is ABSENT or isinstance(value, FunctionType) else switch.raw
    if isinstance(value, (tuple, frozenset)):
        parts = [_original(part, place) for part in value]
        if any(part is not there for part, there in zip(parts, value, strict=True)):
            return aliases.like(value, parts) if isinstance(value, tuple) else frozenset(parts)
    return value


def _give_back(change: _Change) -> None:
    change.place.write(_original(change.before, change.place))


def _exchange_back(patches: list[_Patch]) -> int:
    """Put the originals wherever the redirects have got to since; returns at how many places."""
    found = aliases.find(patch.redirect for patch in patches)
    count = 0
    for site in found.sites:
        patch = next(patch for patch in patches if patch.redirect is site.chain.root)
        known = {id(change.after): change.before for change in patch.changes}
        before = known.get(id(site.chain.value), ABSENT)
        value = site.chain.rebuilt(patch.spot.function) if before is ABSENT else before
        site.place.write(_original(value, site.place))
        count += 1
    return count


def _shown(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return f"{type(value).__qualname__} {getattr(value, '__module__', '')}:{name}" if name else repr(value)
