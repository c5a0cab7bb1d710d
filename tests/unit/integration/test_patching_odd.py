"""Patching where it is awkward: classes that defend themselves, odd holders, C functions, deep inheritance."""

import gc
import inspect
import sys
import threading
import weakref
from types import ModuleType

import pytest

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.integrator import Integrator
from retention_pipelines.integration.patching import Patcher, Request
from retention_pipelines.integration.spots import locate
from tests.fixtures.ml_platform import MakeModule

pytestmark = pytest.mark.usefixtures("little_to_search")


def request(target: str, tag: str = "p", **options) -> Request:
    def replacement(function):
        return lambda *args, **kwargs: (tag, function(*args, **kwargs))

    return Request(spot=locate(target), replacement=replacement, **options)


def test_a_class_and_a_module_that_refuse_to_be_set_are_patched_and_restored(make_module: MakeModule) -> None:
    module = make_module(
        "platform_stiff",
        """
        import sys, types

        class Meta(type):
            def __setattr__(cls, name, value):
                raise AttributeError("frozen class")
            def __delattr__(cls, name):
                raise AttributeError("frozen class")

        class Base(metaclass=Meta):
            def predict(self, x):
                return x

        class Child(Base):
            pass

        def score(x):
            return x

        class Stiff(types.ModuleType):
            def __setattr__(self, name, value):
                raise AttributeError("frozen module")

        sys.modules[__name__].__class__ = Stiff
        """,
    )
    before = id(vars(module.Base)["predict"]), id(vars(module)["score"])
    patcher = Patcher()
    patcher.apply([request(f"platform_stiff:{name}") for name in ("Base.predict", "Child.predict", "score")])
    assert module.Base().predict(1) == module.Child().predict(1) == module.score(1) == ("p", 1)
    patcher.undo()
    assert (id(vars(module.Base)["predict"]), id(vars(module)["score"])) == before
    assert "predict" not in vars(module.Child)


def test_diamonds_and_calls_of_super_through_all_levels_run_each_replacement_once(make_module: MakeModule) -> None:
    module = make_module(
        "platform_diamond",
        """
        class A:
            def go(self): return ["A"]
        class B(A):
            def go(self): return ["B", *super().go()]
        class C(A):
            def go(self): return ["C", *super().go()]
        class D(B, C):
            pass
        """,
    )
    assert module.D().go() == ["B", "C", "A"]

    def noted(name: str) -> Request:
        def replacement(function):
            return lambda self: [f"+{name}", *function(self)]

        return Request(spot=locate(f"platform_diamond:{name}.go"), replacement=replacement)

    patcher = Patcher()
    patcher.apply([noted(name) for name in "ABC"])
    assert module.D().go() == ["+B", "B", "+C", "C", "+A", "A"]
    patcher.undo(["platform_diamond:B.go"])
    assert module.D().go() == ["B", "+C", "C", "+A", "A"]
    patcher.undo()
    assert module.D().go() == ["B", "C", "A"]


def test_a_property_keeps_its_setter_and_deleter(make_module: MakeModule) -> None:
    module = make_module(
        "platform_property",
        """
        class Model:
            def __init__(self): self._v = 1
            @property
            def v(self): return self._v
            @v.setter
            def v(self, value): self._v = value
            @v.deleter
            def v(self): self._v = None
        """,
    )
    before = id(vars(module.Model)["v"])
    patcher = Patcher()
    patcher.apply([request("platform_property:Model.v")])
    model = module.Model()
    model.v = 5
    assert model.v == ("p", 5)
    del model.v
    assert model.v == ("p", None)
    patcher.undo()
    assert id(vars(module.Model)["v"]) == before


def test_a_method_lent_to_another_class_and_bound_in_slots_and_threads(make_module: MakeModule) -> None:
    module = make_module(
        "platform_lent",
        """
        class A:
            def go(self, x): return type(self).__name__, x
        class B:
            run = A.go
        class Tight:
            __slots__ = ("call", "deep")
        tight = Tight()
        tight.call = A().go
        tight.deep = {"in": [(A().go, 1)]}
        """,
    )
    held = id(module.tight.call), id(module.tight.deep["in"][0]), id(vars(module.B)["run"])
    answers = []
    waiting = threading.Thread(target=module.A().go, args=(1,))
    patcher = Patcher()
    patcher.apply([request("platform_lent:A.go")])
    assert module.B().run(1) == ("p", ("B", 1))
    assert module.tight.call(2) == ("p", ("A", 2))
    assert module.tight.deep["in"][0][0](3) == ("p", ("A", 3))
    answers.append(waiting._target(4))
    assert answers == [("p", ("A", 4))]
    patcher.undo()
    assert (id(module.tight.call), id(module.tight.deep["in"][0]), id(vars(module.B)["run"])) == held


def test_objects_that_lie_about_themselves_are_not_disturbed(make_module: MakeModule) -> None:
    module = make_module(
        "platform_liar",
        """
        def score(x): return x

        class Liar:
            def __init__(self): object.__setattr__(self, "kept", score)
            def __getattribute__(self, name): raise RuntimeError("asked for " + name)
            def __setattr__(self, name, value): raise RuntimeError("set")
            def __eq__(self, other): raise RuntimeError("compared")
            __hash__ = None

        class Rude(dict):
            def __getitem__(self, key): raise RuntimeError("read")
            def __setitem__(self, key, value): raise RuntimeError("written")
            def get(self, *args): raise RuntimeError("read")
            def items(self): raise RuntimeError("listed")

        liar = Liar()
        rude = Rude()
        dict.__setitem__(rude, "score", score)
        """,
    )
    before = id(module.score)
    patcher = Patcher()
    patcher.apply([request("platform_liar:score")])
    assert object.__getattribute__(module.liar, "kept")(1) == ("p", 1)
    assert dict.__getitem__(module.rude, "score")(1) == ("p", 1)
    patcher.undo()
    assert id(object.__getattribute__(module.liar, "kept")) == id(dict.__getitem__(module.rude, "score")) == before


def test_a_weak_reference_is_not_found_but_leads_to_the_original(make_module: MakeModule) -> None:
    module = make_module("platform_weak", "def score(x):\n    return x\n")
    weak = weakref.ref(module.score)
    patcher = Patcher()
    patcher.apply([request("platform_weak:score")])
    assert weak()(1) == 1
    patcher.undo()
    assert weak() is module.score


def test_a_c_function_is_patched_and_restored(make_module: MakeModule) -> None:
    import math

    make_module("platform_math", "from math import hypot as distance\n")
    before = math.hypot
    identity = id(before)
    del before
    patcher = Patcher()
    patcher.apply([request("math:hypot")])
    try:
        assert math.hypot(3, 4) == sys.modules["platform_math"].distance(3, 4) == ("p", 5.0)
    finally:
        patcher.undo()
    assert id(math.hypot) == id(sys.modules["platform_math"].distance) == identity


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import functools\nclass M:\n    @functools.cached_property\n    def v(self): return 1", "cached_property"),
        ("import functools\nclass M:\n    v = functools.partialmethod(print, 1)", "partialmethod"),
        ("class M:\n    v = None", "cannot be called"),
        ("class M:\n    class v: pass", "is a class"),
    ],
)
def test_attributes_whose_meaning_is_not_known_are_refused(make_module: MakeModule, source: str, words: str) -> None:
    make_module("platform_refused", source)
    with pytest.raises(IntegrationError, match=words):
        locate("platform_refused:M.v")


@pytest.mark.parametrize("head", ["def", "async def"])
def test_a_generator_is_refused_by_the_integration(make_module: MakeModule, head: str) -> None:
    module = make_module("platform_stream", f"{head} rows(n):\n    yield n\n")
    before = module.rows
    with pytest.raises(IntegrationError, match="generator"):
        Integrator().enable(targets=[{"target": "platform_stream:rows", "kind": "features", "feature_type": "rows"}])
    assert module.rows is before


def test_functions_stay_of_their_kind_and_can_be_pickled_by_name(platform: ModuleType) -> None:
    import pickle

    async def waits(function, *args):
        return await function(*args)

    patcher = Patcher()
    patcher.apply([request("platform_ml:score")])
    fetch = Request(spot=locate("platform_ml:fetch"), replacement=lambda function: lambda x: waits(function, x))
    patcher.apply([fetch])
    assert inspect.iscoroutinefunction(platform.fetch)
    assert not inspect.iscoroutinefunction(platform.score)
    assert pickle.loads(pickle.dumps(platform.score)) is platform.score
    patcher.undo()


def test_nothing_of_a_patch_stays_alive_after_it_was_undone(make_module: MakeModule) -> None:
    module = make_module("platform_brief", "def score(x):\n    return x\n")

    class Cache:
        def __init__(self, function):
            self.function = function

        def __call__(self, x):
            return self.function(x)

    made: list[weakref.ref] = []

    def replacement(function):
        cache = Cache(function)
        made.append(weakref.ref(cache))
        return cache

    patcher = Patcher()
    for _ in range(3):
        patcher.apply([Request(spot=locate("platform_brief:score"), replacement=replacement)])
        assert module.score(1) == 1
        patcher.undo()
    gc.collect()
    assert [ref() for ref in made] == [None, None, None]
