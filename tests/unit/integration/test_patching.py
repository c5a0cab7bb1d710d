import asyncio
import functools
import inspect
import random
import sys
import threading
from types import ModuleType
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.patching import Patcher, Replace, Request
from retention_pipelines.integration.spots import ModuleNotLoaded, NoSuchTarget, is_async, locate
from tests.fixtures.ml_platform import NAME, SOURCE, MakeModule, modules

pytestmark = pytest.mark.usefixtures("little_to_search")

TARGETS = (
    "platform_ml:score",
    "platform_ml:fetch",
    "platform_ml:caller",
    "platform_ml:Base.predict",
    "platform_ml:Base.scale",
    "platform_ml:Base.build",
    "platform_ml:Base.size",
    "platform_ml:Base.load",
    "platform_ml:Child.predict",
    "platform_ml:Child.build",
    "platform_ml:Override.predict",
    "platform_ml:Slotted.predict",
)


def tagged(tag: str) -> Replace:
    """A replacement that marks what the original returns."""

    def replacement(function):
        if is_async(function):

            async def inner(*args, **kwargs):
                return tag, await function(*args, **kwargs)
        else:

            def inner(*args, **kwargs):
                return tag, function(*args, **kwargs)

        return inner

    return replacement


def request(target: str, tag: str = "p", **options) -> Request:
    return Request(spot=locate(target), replacement=tagged(tag), **options)


def raw(module: ModuleType, target: str) -> object:
    """What is stored at the target, or None where it is inherited."""
    owner = module
    *path, name = target.partition(":")[2].split(".")
    for part in path:
        owner = vars(owner)[part]
    return vars(owner).get(name)


class TestWhatIsPatched:
    def test_functions_methods_and_properties_lead_to_the_replacement(self, platform: ModuleType) -> None:
        patcher = Patcher()
        patcher.apply([request(t) for t in TARGETS if ".predict" not in t or "Base" in t])
        base, child = platform.Base(), platform.Child()
        assert platform.score(1, y=2) == ("p", ("score", 1, 2))
        assert asyncio.run(platform.fetch(1)) == ("p", ("fetch", 1))
        assert platform.caller(4) == ("p", ("Caller", 4))
        assert base.predict(3) == ("p", ("Base.predict", "Base", 3))
        assert child.predict(3) == ("p", ("Base.predict", "Child", 3))
        assert base.scale(1) == platform.Base.scale(1) == ("p", ("scale", 1))
        assert platform.Base.build() == ("p", ("build", "Base", 0))
        assert child.build(2) == ("p", ("build", "Child", 2))
        assert child.size == ("p", ("size", "Child"))
        assert asyncio.run(base.load(1)) == ("p", ("load", 1))
        patcher.undo()

    def test_a_subclass_that_calls_super_reaches_the_replacement_once(self, platform: ModuleType) -> None:
        patcher = Patcher()
        patcher.apply([request("platform_ml:Base.predict")])
        assert platform.Override().predict(1) == ("Override", ("p", ("Base.predict", "Override", 1)))
        patcher.undo()
        assert platform.Override().predict(1) == ("Override", ("Base.predict", "Override", 1))

    def test_an_inherited_method_is_patched_on_the_class_named_and_removed_again(self, platform: ModuleType) -> None:
        patcher = Patcher()
        patcher.apply([request("platform_ml:Child.predict")])
        assert platform.Child().predict(1) == ("p", ("Base.predict", "Child", 1))
        assert platform.Base().predict(1) == ("Base.predict", "Base", 1)
        patcher.undo()
        assert "predict" not in vars(platform.Child)

    @pytest.mark.parametrize("first", ["platform_ml:Base.predict", "platform_ml:Child.predict"])
    def test_a_method_and_its_heir_are_not_wrapped_twice(self, platform: ModuleType, first: str) -> None:
        patcher = Patcher()
        patcher.apply([request(first)])
        patcher.apply([request("platform_ml:Base.predict"), request("platform_ml:Child.predict")])
        assert platform.Child().predict(1) == ("p", ("Base.predict", "Child", 1))
        assert platform.Base().predict(1) == ("p", ("Base.predict", "Base", 1))
        patcher.undo(["platform_ml:Base.predict"])
        assert platform.Child().predict(1) == ("p", ("Base.predict", "Child", 1))
        patcher.undo()
        assert "predict" not in vars(platform.Child)

    def test_an_instance_that_hides_the_method_keeps_its_own(self, platform: ModuleType) -> None:
        hidden = platform.Base()
        hidden.predict = lambda x: ("own", x)
        own = hidden.predict
        patcher = Patcher()
        patcher.apply([request("platform_ml:Base.predict")])
        assert hidden.predict(1) == ("own", 1)
        patcher.undo()
        assert hidden.predict is own

    def test_name_doc_and_signature_stay(self, platform: ModuleType) -> None:
        signature = inspect.signature(platform.score)
        patcher = Patcher()
        patcher.apply([request("platform_ml:score"), request("platform_ml:Base.size")])
        assert inspect.signature(platform.score) == signature
        assert (platform.score.__name__, platform.score.__doc__) == ("score", "Score of x.")
        assert platform.Base.size.__doc__ == "Size."
        patcher.undo()

    def test_what_the_original_raises_is_raised(self, platform: ModuleType) -> None:
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        with pytest.raises(TypeError, match="required positional"):
            platform.score()
        patcher.undo()


class TestAliases:
    """Wherever the function is known under another name, that name leads to the replacement too."""

    def everywhere(self, make_module, platform: ModuleType) -> ModuleType:
        return make_module(
            "platform_api",
            """
            import functools
            from collections import deque, namedtuple
            from dataclasses import dataclass
            from platform_ml import score as g, Base, manager, bound

            Route = namedtuple("Route", "path call")
            handlers = [len, g]
            waiting = deque([g])
            table = {"score": g, "nested": {"deep": (1, (g, 2))}}
            route = Route("/score", g)
            members = {g}
            frozen = frozenset([g])
            part = functools.partial(g, y=5)
            given = functools.partial(map, g)
            keyed = functools.partial(sorted, key=g)

            def default(x, call=g, *, other=g):
                return call(x), other(x)

            def closure():
                def inner(x):
                    return kept(x)
                kept = g
                return inner

            inner = closure()

            class Holder:
                call = staticmethod(g)
                def __init__(self):
                    self.call_it = g

            class Tight:
                __slots__ = ("call",)

            @dataclass(frozen=True)
            class Frozen:
                call: object

            holder = Holder()
            tight = Tight()
            tight.call = g
            froze = Frozen(g)
            callback = manager.predict
            callbacks = [bound]
            """,
        )

    def calls(self, api: ModuleType) -> dict[str, object]:
        return {
            "global": api.g,
            "list": api.handlers[1],
            "deque": api.waiting[0],
            "dict": api.table["score"],
            "tuple": api.table["nested"]["deep"][1][0],
            "namedtuple": api.route.call,
            "set": next(iter(api.members)),
            "frozenset": next(iter(api.frozen)),
            "partial": api.part.func,
            "argument of a partial": api.given.args[0],
            "keyword of a partial": api.keyed.keywords["key"],
            "default": api.default.__defaults__[0],
            "keyword default": api.default.__kwdefaults__["other"],
            "closure": api.inner.__closure__[0].cell_contents,
            "static method": api.Holder.call,
            "instance": api.holder.call_it,
            "slot": api.tight.call,
            "frozen dataclass": api.froze.call,
        }

    def test_every_alias_is_patched_and_given_back(self, make_module, platform: ModuleType) -> None:
        api = self.everywhere(make_module, platform)
        score, route, partial = platform.score, api.route, api.part
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        assert {name: call(1) for name, call in self.calls(api).items()} == dict.fromkeys(
            self.calls(api), ("p", ("score", 1, 1))
        )
        assert api.part(1) == ("p", ("score", 1, 5))
        assert api.inner(1) == ("p", ("score", 1, 1))
        assert api.default(1)[1] == ("p", ("score", 1, 1))
        assert type(api.route) is type(route)
        places = patcher.places("platform_ml:score")
        assert {"platform_ml:score", "platform_api:g"} <= set(places)
        del score
        patcher.undo()
        for name, call in self.calls(api).items():
            assert call is platform.score, name
        assert api.part is partial
        assert api.route is route

    def test_a_bound_method_kept_as_callback_is_patched_and_given_back(self, make_module, platform: ModuleType) -> None:
        api = self.everywhere(make_module, platform)
        before = api.callback, api.callbacks[0], platform.bound
        patcher = Patcher()
        patcher.apply([request("platform_ml:Base.predict")])
        assert api.callback(1) == api.callbacks[0](1) == platform.bound(1) == ("p", ("Base.predict", "Base", 1))
        patcher.undo()
        assert all(a is b for a, b in zip(before, (api.callback, api.callbacks[0], platform.bound), strict=True))

    def test_an_alias_that_cannot_be_exchanged_refuses_with_the_list(self, make_module, platform: ModuleType) -> None:
        make_module(
            "platform_memo",
            """
            import functools
            from platform_ml import score
            memo = functools.lru_cache(score)
            options = {score: "slow"}
            """,
        )
        before = platform.score
        with pytest.raises(IntegrationError, match=r"lru_cache_wrapper.*key of a dict|key of a dict.*lru_cache"):
            Patcher().apply([request("platform_ml:score"), request("platform_ml:Base.predict")])
        assert platform.score is before
        assert platform.Base().predict(1) == ("Base.predict", "Base", 1)
        patcher = Patcher()
        patcher.apply([request("platform_ml:score", aliases="ignore")])
        assert platform.score(1) == ("p", ("score", 1, 1))
        assert sys.modules["platform_memo"].memo(1) == ("score", 1, 1)
        patcher.undo()
        assert platform.score is before

    def test_aliases_taken_while_patched_are_given_the_original(self, make_module, platform: ModuleType) -> None:
        original = platform.score
        patcher = Patcher()
        patcher.apply([request("platform_ml:score"), request("platform_ml:Base.predict")])
        late = make_module(
            "platform_late",
            "from platform_ml import score, manager\nlist_of = [score]\nkept = manager.predict\n",
        )
        outside = platform.score
        patcher.undo()
        assert late.score is late.list_of[0] is platform.score
        assert late.kept(1) == ("Base.predict", "Base", 1)
        assert outside(1) == ("score", 1, 1), "a local variable still leads to our redirect: it calls the original"
        assert original is platform.score

    def test_a_name_of_another_module_that_is_the_same_function_is_told(self, make_module, platform) -> None:
        make_module("platform_again", "from platform_ml import score")
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        with pytest.raises(IntegrationError, match="patched already"):
            patcher.apply([request("platform_again:score")])
        patcher.undo()


class TestUndoing:
    def test_every_attribute_is_the_original_object(self, platform: ModuleType) -> None:
        before = {t: id(raw(platform, t)) for t in TARGETS}
        patcher = Patcher()
        patcher.apply([request(t) for t in TARGETS])
        assert all(id(raw(platform, t)) != before[t] for t in TARGETS)
        undone = patcher.undo()
        assert set(undone.targets) == set(TARGETS)
        assert undone.left == ()
        for target in TARGETS:
            assert id(raw(platform, target)) == before[target], target

    def test_twice_is_as_once(self, platform: ModuleType) -> None:
        original = vars(platform.Base)["scale"]
        patcher = Patcher()
        assert patcher.apply([request("platform_ml:Base.scale")]) == ("platform_ml:Base.scale",)
        assert patcher.apply([request("platform_ml:Base.scale")]) == ()
        assert platform.Base.scale(1) == ("p", ("scale", 1))
        assert patcher.undo().targets == ("platform_ml:Base.scale",)
        assert patcher.undo().targets == ()
        assert vars(platform.Base)["scale"] is original

    @pytest.mark.parametrize("outer_first", [True, False])
    def test_two_patchers_are_taken_back_in_any_order(self, platform: ModuleType, outer_first: bool) -> None:
        original = vars(platform.Base)["build"]
        below, above = Patcher(), Patcher()
        below.apply([request("platform_ml:Base.build", "below")])
        above.apply([request("platform_ml:Base.build", "above")])
        assert platform.Base.build() == ("above", ("below", ("build", "Base", 0)))
        first, second = (above, below) if outer_first else (below, above)
        first.undo()
        assert platform.Base.build() == ("below" if outer_first else "above", ("build", "Base", 0))
        second.undo()
        assert vars(platform.Base)["build"] is original

    @pytest.mark.parametrize("outer_first", [True, False])
    def test_aliases_that_two_patchers_changed_hold_the_originals_in_any_order(
        self, make_module: MakeModule, platform: ModuleType, outer_first: bool
    ) -> None:
        other = make_module(
            "other",
            """
            import platform_ml
            from platform_ml import score

            raw = {name: vars(platform_ml.Base)[name] for name in ("build", "scale", "predict")}
            nested = (1, ("score", score))
            several = frozenset({score, 1})

            def default(value, ask=score):
                return ask(value, 1)
            """,
        )
        originals = {**other.raw, "score": platform.score}
        targets = ["platform_ml:score", "platform_ml:Base.build", "platform_ml:Base.scale", "platform_ml:Base.predict"]
        below, above = Patcher(), Patcher()
        for patcher, name in ((below, "below"), (above, "above")):
            patcher.apply([request(target, name) for target in targets])
        for patcher in (above, below) if outer_first else (below, above):
            patcher.undo()
        for name in ("build", "scale", "predict"):
            assert vars(platform.Base)[name] is originals[name]
            assert other.raw[name] is originals[name]
        assert other.nested[1][1] is originals["score"]
        assert originals["score"] in other.several
        assert other.default.__defaults__ == (originals["score"],)
        assert other.default(1) == ("score", 1, 1)

    def test_a_patch_of_somebody_else_on_top_stays_and_is_told(self, platform: ModuleType) -> None:
        original = platform.score
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])

        def theirs(wrapped):
            @functools.wraps(wrapped)
            def foreign(*args):
                return "foreign", wrapped(*args)

            return foreign

        platform.score = theirs(platform.score)
        assert [left.place for left in patcher.covered()] == ["platform_ml:score"]
        undone = patcher.undo()
        assert [(left.target, left.place) for left in undone.left] == [("platform_ml:score", "platform_ml:score")]
        assert "foreign" in undone.left[0].found or "score" in undone.left[0].found
        assert platform.score(1) == ("foreign", ("score", 1, 1))
        assert platform.score.__wrapped__ is original, "what they wrap is the original now"

    def test_a_mock_on_top_that_ends_later_leaves_the_original(self, platform: ModuleType) -> None:
        for name, owner in (("score", platform), ("scale", platform.Base), ("predict", platform.Child)):
            held = [vars(owner).get(name)]
            patcher = Patcher()
            patcher.apply([request(f"platform_ml:{'' if owner is platform else owner.__name__ + '.'}{name}")])
            with mock.patch.object(owner, name, return_value="mocked"):
                assert getattr(owner, name)(1) == "mocked"
                patcher.undo()
                assert getattr(owner, name)(1) == "mocked"
            patcher.undo()
            if owner is platform.Child:
                assert owner.predict is platform.Base.predict
            else:
                assert vars(owner)[name] is held[0]

    def test_a_patch_put_back_from_where_nobody_can_look_is_taken_back_the_next_time(self, platform) -> None:
        original = id(platform.score)
        patcher = Patcher()
        patcher.apply([request("platform_ml:score"), request("platform_ml:Child.predict")])
        ours, inherited = platform.score, vars(platform.Child)["predict"]  # local variables cannot be found
        platform.score = platform.Child.predict = len
        assert len(patcher.undo().left) == 2
        platform.score, platform.Child.predict = ours, inherited
        assert platform.score(1) == ("score", 1, 1), "it leads to the original already"
        patcher.undo()
        assert id(platform.score) == original
        assert "predict" not in vars(platform.Child)

    def test_what_we_put_in_earlier_is_no_alias(self, platform: ModuleType) -> None:
        original = id(platform.score)
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        former = platform.score
        patcher.undo()
        patcher.apply([request("platform_ml:score")])
        assert not any("__wrapped__" in place for place in patcher.places("platform_ml:score"))
        assert id(former.__wrapped__) == original
        patcher.undo()

    def test_a_mock_below_that_ends_first_is_not_overwritten(self, platform: ModuleType) -> None:
        original = platform.score
        foreign = mock.patch.object(platform, "score", lambda x: ("mocked", x))
        foreign.start()
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        assert platform.score(1) == ("p", ("mocked", 1))
        foreign.stop()
        undone = patcher.undo()
        assert platform.score is original
        assert len(undone.left) == 1
        patcher.undo()
        assert platform.score is original

    def test_patching_again_under_somebody_elses_patch_goes_on_top(self, platform: ModuleType) -> None:
        original = platform.score
        patcher = Patcher()
        patcher.apply([request("platform_ml:score")])
        platform.score = functools.partial(original, y=9)
        assert patcher.apply([request("platform_ml:score")]) == ("platform_ml:score",)
        assert platform.score(1) == ("p", ("score", 1, 9))
        patcher.undo()
        assert platform.score(1) == ("score", 1, 9)


class TestAllOrNothing:
    @pytest.mark.parametrize(
        ("target", "error", "words"),
        [
            ("platform_ml:nothing", NoSuchTarget, "no attribute 'nothing'"),
            ("platform_ml:Base.nothing", NoSuchTarget, "Base has no attribute 'nothing'"),
            ("no_such_module_of_anybody:f", NoSuchTarget, "cannot be imported"),
            ("platform_ml:Base", IntegrationError, "is a class"),
            ("platform_ml:Base.limit", IntegrationError, "cannot be called"),
            ("platform_ml:manager.predict", IntegrationError, "platform_ml:Base.predict"),
            ("platform_ml.score", IntegrationError, "with the colon"),
        ],
    )
    def test_what_cannot_be_patched_is_told_and_nothing_is_changed(self, platform, target, error, words) -> None:
        with pytest.raises(error, match=words):
            locate(target)

    def test_a_module_that_is_not_imported_is_only_imported_if_asked(self) -> None:
        sys.modules.pop("colorsys", None)
        with pytest.raises(ModuleNotLoaded):
            locate("colorsys:rgb_to_hsv", load=False)
        assert "colorsys" not in sys.modules
        assert locate("colorsys:rgb_to_hsv").name == "rgb_to_hsv"

    def test_a_class_that_cannot_be_changed_undoes_the_others(self, platform: ModuleType) -> None:
        original = platform.score
        with pytest.raises(IntegrationError, match="immutable type"):
            Patcher().apply([request("platform_ml:score"), request("builtins:str.upper", aliases="ignore")])
        assert platform.score is original

    def test_a_replacement_that_fails_undoes_the_others(self, platform: ModuleType) -> None:
        original = platform.score

        def fails(function):
            raise KeyboardInterrupt

        bad = Request(spot=locate("platform_ml:Base.predict"), replacement=fails)
        with pytest.raises(KeyboardInterrupt):
            Patcher().apply([request("platform_ml:score"), bad])
        assert platform.score is original


def test_calls_of_many_threads_while_patching_are_all_answered(platform: ModuleType) -> None:
    patcher, stop, wrong = Patcher(), threading.Event(), []
    base = platform.Base()

    def call() -> None:
        while not stop.is_set():
            for got in (platform.score(1), base.predict(1)):
                inner = got[1] if got[0] == "p" else got
                if inner not in {("score", 1, 1), ("Base.predict", "Base", 1)}:
                    wrong.append(got)

    def switch(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(3):
            patcher.apply([request("platform_ml:score"), request("platform_ml:Base.predict")])
            if order.random() < 0.7:
                patcher.undo()

    original = platform.score
    callers = [threading.Thread(target=call) for _ in range(3)]
    switchers = [threading.Thread(target=switch, args=(n,)) for n in range(3)]
    for thread in (*callers, *switchers):
        thread.start()
    for thread in switchers:
        thread.join()
    stop.set()
    for thread in callers:
        thread.join()
    patcher.undo()
    assert wrong == []
    assert platform.score is original


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["apply", "undo", "undo all", "foreign", "foreign ends", "alias"]),
        st.integers(0, len(TARGETS) - 1),
        st.integers(0, 1),
    ),
    max_size=8,
)


def _sequence(platform: ModuleType, steps) -> None:
    """Run the steps, then end everything: every attribute is the original again."""
    originals = {t: raw(platform, t) for t in TARGETS}
    ids = {t: id(o) for t, o in originals.items()}
    patchers = Patcher(), Patcher()
    mocks: list[mock._patch] = []
    aliases: list[object] = []
    named: list[str] = []
    for what, n, who in steps:
        target = TARGETS[n]
        match what:
            case "apply":
                patchers[who].apply([request(target, str(who))])
            case "undo":
                patchers[who].undo([target])
            case "undo all":
                patchers[who].undo()
            case "foreign":
                begun = mock.patch(target.replace(":", "."), wraps=None)
                begun.start()
                mocks.append(begun)
            case "foreign ends" if mocks:
                mocks.pop().stop()
            case "alias":
                aliases.append(raw(platform, target))
                named.append(target)
    while mocks:
        mocks.pop().stop()
    for patcher in (*patchers, *patchers):
        patcher.undo()
    for target in TARGETS:
        found = raw(platform, target)
        if originals[target] is None:
            assert found is None or found is raw(platform, target.replace("Child", "Base")), target
        else:
            assert id(found) == ids[target], target
    for target, alias in zip(named, aliases, strict=True):
        # A mock that was on then is what was copied; what an inherited method was copied from is gone from its place.
        if originals[target] is not None and not isinstance(alias, mock.NonCallableMock):
            assert id(alias) == ids[target], f"a copy of {target}"


def _in_new_platform(steps) -> None:
    with modules() as make:
        _sequence(make(NAME, SOURCE), steps)


class TestAnySequence:
    """Whatever is patched, mocked, copied and undone in which order: at the end the originals are there."""

    @settings(derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=STEPS)
    def test_with_mocks_and_copies_leaves_the_originals(self, steps) -> None:
        _in_new_platform(steps)

    @pytest.mark.parametrize("sequences", [200, pytest.param(1000, marks=pytest.mark.long)])
    def test_of_many_leaves_the_originals(self, sequences: int) -> None:
        order = random.Random(sequences)
        for _ in range(sequences):
            _in_new_platform(
                [
                    (
                        order.choice(["apply", "apply", "undo", "undo all"]),
                        order.randrange(len(TARGETS)),
                        order.randrange(2),
                    )
                    for _ in range(order.randrange(1, 6))
                ]
            )
