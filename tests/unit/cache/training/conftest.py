"""A store of training sets of the test's own."""

import pytest

from retention_pipelines.cache.training.description import Description
from retention_pipelines.cache.training.store import Preparation, StoredTrainingSet, TrainingSets
from retention_pipelines.settings import Settings

KEY = "0123456789abcdef" * 2


class Sets(TrainingSets):
    """A store with the two calls most tests make in short."""

    def put(self, value: object, key: str = KEY, **preparation: object) -> StoredTrainingSet | None:
        known = {"started_ns": self.clock_ns(), "compute_seconds": 1.0} | preparation
        return self.save(key, value, description=Description(), preparation=Preparation(**known))

    def get(self, key: str = KEY, **more: object) -> object:
        found = self.find(key, **more)
        assert found is not None, "it is not in the cache"
        return found.value


@pytest.fixture
def sets(settings: Settings) -> Sets:
    return Sets(settings)
