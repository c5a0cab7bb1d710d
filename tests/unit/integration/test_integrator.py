import asyncio
import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from retention_pipelines.cache import caching
from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.hooks import Hooks
from retention_pipelines.integration.integrator import Integrator

pytestmark = pytest.mark.usefixtures("little_to_search")

MODULES = {"models": "platform_models", "endpoints": "platform_no_endpoints"}


@pytest.fixture(autouse=True)
def own_caches() -> Iterator[runtimes.CacheRuntime]:
    with caching.testing() as runtime:
        yield runtime


@pytest.fixture
def integrator() -> Iterator[Integrator]:
    made = Integrator(hooks=Hooks())
    yield made
    made.disable()


class TestTheDefaultMapping:
    def test_patches_what_the_platform_has_and_tells_the_rest(self, integrator, manager_module) -> None:
        status = integrator.enable(modules=MODULES)
        assert status.patched == (
            "platform_models:MLModelManager.predict",
            "platform_models:MLModelManager.extract_features",
            "platform_models:MLModelManager.train_model",
            "platform_models:MLModelManager.retrain_model",
        )
        assert [target.target for target in status.passed_over] == [
            "platform_models:MLModelManager.prepare_training_data"
        ]
        assert status.waiting == ("platform_no_endpoints:make_prediction",)

    def test_a_prediction_is_computed_once_and_stays_a_dataclass(self, integrator, manager_module) -> None:
        manager = manager_module.MLModelManager()
        plain = manager.predict("richness", {"sst": 21.5})
        manager_module.calls.clear()
        integrator.enable(modules=MODULES)
        first, second = (manager.predict("richness", input_data={"sst": 21.5}) for _ in range(2))
        assert first == second == plain
        assert type(second) is manager_module.PredictionResult
        assert type(second.bounds) is tuple
        assert manager_module.calls == [("predict", "richness")]

    def test_models_inputs_classes_and_folders_never_share(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager, quick = manager_module.MLModelManager(), manager_module.QuickManager()
        elsewhere = manager_module.MLModelManager("other")
        asked = [(m, model, {"sst": sst}) for m in (manager, quick, elsewhere) for model in ("richness", "heat")
                 for sst in (1.0, 2.0)]  # fmt: skip
        for _ in range(2):
            for on, model, given in asked:
                on.predict(model, given)
        assert len(manager_module.calls) == len(asked)

    def test_what_the_method_raises_comes_out_and_is_not_cached(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        for _ in range(2):
            with pytest.raises(ValueError, match="no model nothing"):
                manager.predict("nothing", {})
        assert len(manager_module.calls) == 2
        with pytest.raises(TypeError, match="missing 1 required"):
            manager.predict("richness")

    def test_an_async_method_is_cached_by_feature_type_and_options(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()

        async def ask():
            first = await manager.extract_features("s1", "spatial", radius=5)
            again = await manager.extract_features("s1", feature_type="spatial", radius=5)
            wider = await manager.extract_features("s1", "spatial", radius=9)
            other = await manager.extract_features("s1", "temporal", radius=5)
            return first, again, wider, other

        first, again, wider, other = asyncio.run(ask())
        assert first == again == {"study": "s1", "type": "spatial", "options": {"radius": 5}}
        assert (wider["options"], other["type"]) == ({"radius": 9}, "temporal")
        assert len(manager_module.calls) == 3

    def test_training_always_runs_and_returns_what_it_returned(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        reports = [manager.train_model("richness", rows=3) for _ in range(2)]
        assert manager.factor == 3.0, "a training that is answered from a cache would leave the model untrained"
        assert all(type(report) is manager_module.Report for report in reports)

    def test_retraining_without_a_database_still_forgets_its_predictions_here(
        self, integrator, manager_module, caplog
    ) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        before = manager.predict("richness", {"sst": 2.0}), manager.predict("heat", {"sst": 2.0})
        with caplog.at_level(logging.ERROR):
            assert manager.retrain_model("richness", [1]) is True
        after = manager.predict("richness", {"sst": 2.0}), manager.predict("heat", {"sst": 2.0})
        assert (before[0].prediction, after[0].prediction) == (2.0, 22.0)
        assert after[1] == before[1], "another model's prediction stays"
        assert integrator.tally.read()["not_registered"] == 1

    def test_a_retraining_that_says_it_failed_changes_no_cache(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        manager.predict("richness", {"sst": 2.0})
        assert manager.retrain_model("richness", None) is False
        manager.predict("richness", {"sst": 2.0})
        assert manager_module.calls.count(("predict", "richness")) == 1

    def test_an_enum_names_the_same_model_as_its_value(self, integrator, manager_module) -> None:
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        manager.predict(manager_module.ModelType.RICHNESS, {"sst": 2.0})
        runtimes.current().invalidate("model", "richness")
        manager.predict(manager_module.ModelType.RICHNESS, {"sst": 2.0})
        assert len(manager_module.calls) == 2

    def test_disabling_restores_and_the_caches_are_not_asked_any_more(self, integrator, manager_module) -> None:
        cls = manager_module.MLModelManager
        before = {name: id(vars(cls)[name]) for name in ("predict", "extract_features", "train_model", "retrain_model")}
        integrator.enable(modules=MODULES)
        manager = cls()
        manager.predict("richness", {"sst": 1.0})
        for _ in range(2):
            integrator.disable()
            assert {name: id(vars(cls)[name]) for name in before} == before
        manager.predict("richness", {"sst": 1.0})
        assert len(manager_module.calls) == 2
        assert integrator.status().enabled is False


class TestConfiguration:
    def write(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "targets.yaml"
        file.write_text(text)
        return file

    def test_a_file_names_other_targets(self, integrator, platform: ModuleType, tmp_path: Path) -> None:
        file = self.write(
            tmp_path,
            """
            targets:
              - {target: "platform_ml:score", kind: prediction, model: {value: scorer}, ttl_hours: 2}
              - {target: "platform_ml:Base.scale", kind: features, feature_type: scaled, source_table: none}
            """,
        )
        assert integrator.enable(file).patched == ("platform_ml:score", "platform_ml:Base.scale")
        assert platform.score(1, 2) == platform.score(1, y=2) == ("score", 1, 2)
        assert platform.Base().scale(4) == ("scale", 4)
        assert integrator.tally.read()["calls"] == 3

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("targets: [{target: 'platform_ml:score', kind: guess}]", r"target 1, kind"),
            ("targets: [{target: 'platform_ml:score', kind: prediction}]", "needs `model`"),
            ("targets: [{target: 'platform_ml:score', kind: features}]", "need `feature_type`"),
            ("targets: [{target: 'platform_ml:score', kind: study, tll: 3}]", "tll"),
            ("targets: [{target: '{web}:f', kind: study}]", r"\{web\} is not under `modules`"),
            ("target: []", "target at the top"),
            ("- 1", "a list at the top"),
            ("targets: [", "is no YAML"),
            ("targets: [{target: 'platform_ml:score', kind: prediction, model: z}]", "no argument 'z'.*It has: x, y"),
            ("targets: [{target: 'platform_ml:gone', kind: study}]", "no attribute 'gone'"),
            ("targets: [{target: 'platform_ml:score', kind: prediction, model: x, also: y}]", "receiver: class"),
        ],
    )
    def test_a_mistake_is_told_with_its_place_and_nothing_is_patched(
        self, integrator, platform: ModuleType, tmp_path: Path, text: str, words: str
    ) -> None:
        before = platform.score
        with pytest.raises(IntegrationError, match=words):
            integrator.enable(self.write(tmp_path, text))
        assert platform.score is before
        assert integrator.status().enabled is False

    def test_a_missing_file_is_told(self, integrator, tmp_path: Path) -> None:
        with pytest.raises(IntegrationError, match="cannot be read"):
            integrator.enable(tmp_path / "none.yaml")

    def test_a_mistake_in_a_list_of_the_program_is_told_likewise(self, integrator) -> None:
        good = {"target": "platform_ml:score", "kind": "prediction", "model": {"value": "m"}}
        with pytest.raises(IntegrationError, match=r"the program, target 2.*needs `model`"):
            integrator.enable(targets=[good, {"target": "platform_ml:score", "kind": "prediction"}])
        with pytest.raises(IntegrationError, match="the program, target 1, ttl"):
            integrator.enable(targets=[good | {"ttl": 3}])
        assert integrator.status().patched == ()

    def test_one_wrong_target_leaves_all_unpatched(self, integrator, platform: ModuleType) -> None:
        before = platform.score
        with pytest.raises(IntegrationError, match="gone"):
            integrator.enable(
                targets=[
                    {"target": "platform_ml:score", "kind": "prediction", "model": {"value": "m"}},
                    {"target": "platform_ml:gone", "kind": "study"},
                ]
            )
        assert platform.score is before

    def test_a_list_may_add_to_the_packaged_one(self, integrator, platform, manager_module, tmp_path: Path) -> None:
        file = self.write(
            tmp_path,
            """
            packaged: true
            modules: {models: platform_models}
            targets:
              - {target: "platform_ml:score", kind: prediction, model: {value: scorer}}
              - {target: "{models}:MLModelManager.predict", kind: prediction, model: model_type, receiver: class}
            """,
        )
        patched = integrator.enable(file).patched
        assert patched[:2] == ("platform_ml:score", "platform_models:MLModelManager.predict")
        assert "platform_models:MLModelManager.retrain_model" in patched


def test_a_module_imported_later_is_patched_then(integrator, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "platform_comes_later.py").write_text(
        "calls = []\ndef predict(x):\n    calls.append(x)\n    return {'x': x}\n"
    )
    (tmp_path / "platform_user.py").write_text("from platform_comes_later import predict as ask\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    target = {"target": "platform_comes_later:predict", "kind": "prediction", "model": {"value": "m"}}
    try:
        assert integrator.enable(targets=[target]).waiting == ("platform_comes_later:predict",)
        import platform_user

        assert integrator.status().patched == ("platform_comes_later:predict",)
        later = sys.modules["platform_comes_later"]
        assert platform_user.ask(1) == platform_user.ask(1) == {"x": 1}
        assert later.calls == [1]
        assert type(later.__loader__).__name__ == "SourceFileLoader"
        integrator.disable()
        assert platform_user.ask is later.predict
        assert not hasattr(later.predict, "__wrapped__")
    finally:
        sys.modules.pop("platform_comes_later", None)
        sys.modules.pop("platform_user", None)
    assert not any(type(finder).__module__.startswith("retention_pipelines") for finder in sys.meta_path)


def test_a_target_that_fails_while_its_module_is_imported_does_not_fail_the_import(
    integrator, tmp_path: Path, monkeypatch, caplog
) -> None:
    (tmp_path / "platform_without.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    integrator.enable(targets=[{"target": "platform_without:gone", "kind": "study"}])
    try:
        import platform_without

        assert platform_without.answer == 42
        assert [over.target for over in integrator.status().passed_over] == ["platform_without:gone"]
        assert "gone" in caplog.text
    finally:
        sys.modules.pop("platform_without", None)


class TestHooks:
    def test_hooks_are_told_of_predictions_and_trainings(self, manager_module) -> None:
        hooks, told = Hooks(), []
        for moment in ("before_prediction", "after_prediction", "before_training", "after_training"):
            hooks.add(moment, told.append)
        integrator = Integrator(hooks=hooks)
        integrator.enable(modules=MODULES)
        manager = manager_module.MLModelManager()
        for _ in range(2):
            manager.predict("richness", {"sst": 1.0})
        manager.retrain_model("heat", None)
        with pytest.raises(ValueError, match="no model"):
            manager.predict("none", {})
        integrator.disable()
        assert [(h.moment, h.subject) for h in told] == [
            ("before_prediction", "richness"), ("after_prediction", "richness"),
            ("before_prediction", "richness"), ("after_prediction", "richness"),
            ("before_training", "heat"), ("after_training", "heat"),
            ("before_prediction", "none"), ("after_prediction", "none"),
        ]  # fmt: skip
        assert told[1].result.prediction == 1.0
        assert told[1].arguments["input_data"] == {"sst": 1.0}
        assert isinstance(told[-1].error, ValueError)
        assert all(h.elapsed_seconds >= 0 for h in told if h.moment.startswith("after"))

    def test_a_failing_hook_never_reaches_the_caller(self, manager_module) -> None:
        hooks = Hooks()

        def fails(happening):
            raise RuntimeError("hook")

        hooks.add("before_prediction", fails)
        hooks.add("after_prediction", fails)
        integrator = Integrator(hooks=hooks)
        integrator.enable(modules=MODULES)
        assert manager_module.MLModelManager().predict("richness", {"sst": 1.0}).prediction == 1.0
        integrator.disable()
        assert hooks.failures == 2


def test_a_target_may_ask_for_its_module_to_be_imported(integrator, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "platform_to_load.py").write_text("def ask(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    target = {"target": "platform_to_load:ask", "kind": "prediction", "model": {"value": "m"}, "load": True}
    try:
        assert integrator.enable(targets=[target]).patched == ("platform_to_load:ask",)
        missing = {**target, "target": "platform_that_is_not:ask"}
        with pytest.raises(IntegrationError, match="cannot be imported"):
            integrator.enable(targets=[missing])
        assert integrator.enable(targets=[{**missing, "optional": True}]).waiting == ("platform_that_is_not:ask",)
    finally:
        sys.modules.pop("platform_to_load", None)


def test_a_reloaded_module_is_told_and_patched_again(integrator, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "platform_reloaded.py").write_text("def ask(x):\n    return [x]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    target = {"target": "platform_reloaded:ask", "kind": "prediction", "model": {"value": "m"}, "load": True}
    try:
        integrator.enable(targets=[target])
        module = importlib.reload(sys.modules["platform_reloaded"])
        assert [left.target for left in integrator.status().covered] == ["platform_reloaded:ask"]
        plain = module.ask
        integrator.enable(targets=[target])
        assert integrator.status().covered == ()
        assert module.ask(1) == [1]
        assert plain(1) == [1]
        integrator.disable()
        assert not hasattr(module.ask, "__wrapped__")
    finally:
        sys.modules.pop("platform_reloaded", None)
