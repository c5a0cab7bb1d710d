"""Types of decorated functions, for type checkers and readers: what a decorator takes and gives back.

What belongs here: protocols. At run time a decorated function is a plain function with the attributes named here, so it
binds as a method, and inspect and documentation tools see what they expect.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from retention_pipelines.cache.info import CacheInfo

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Owner = TypeVar("Owner")


class Decorated(Protocol[P, R_co]):
    """A cached function: called like the original, with a few attributes more."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the function returns."""
        ...

    @overload
    def __get__(self, instance: None, owner: Any = None, /) -> "Decorated[P, R_co]": ...
    @overload
    def __get__(
        self: "Decorated[Concatenate[Any, Q], R_co]", instance: object, owner: Any = None, /
    ) -> "BoundMethod[Q, R_co]": ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute whatever is cached, keep and return it."""
        ...

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the answer of a call, everywhere; without arguments, all answers of this function."""
        ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call; raises Unkeyable where none can be made."""
        ...

    def cache_info(self) -> CacheInfo:
        """What the caches did for this function in this process."""
        ...

    def bypass(self) -> AbstractContextManager[None]:
        """A block in which this function just runs, in this thread or task."""
        ...


class BoundMethod(Protocol[P, R_co]):
    """A cached method of an instance; `refresh`, `invalidate` and `key` are asked of the class, with the instance."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the method returns."""
        ...

    def cache_info(self) -> CacheInfo:
        """What the caches did for this method of all instances."""
        ...


class CacheDecorator(Protocol):
    """What `cache_features(…)` and its siblings return."""

    @overload
    def __call__(self, function: "staticmethod[P, R]", /) -> "staticmethod[P, R]": ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: "classmethod[Owner, P, R]", /) -> "classmethod[Owner, P, R]": ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Decorated[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Decorate a function."""
        ...
