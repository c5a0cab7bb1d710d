"""Fixtures every test may use; each file in `fixtures/` holds one kind."""

import pytest

pytest_plugins = [
    "tests.fixtures.lake",
    "tests.fixtures.ml_platform",
    "tests.fixtures.postgres",
    "tests.fixtures.real_data",
    "tests.fixtures.retention",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long versions of bounded tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long version: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)
