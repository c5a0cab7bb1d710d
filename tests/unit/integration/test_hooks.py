import logging

import pytest

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.hooks import MOMENTS, Happening, Hooks


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_hook_is_told_of_its_moment_only(moment) -> None:
    hooks, told = Hooks(), []
    hooks.add(moment, told.append)
    hooks.add(moment, told.append)
    for each in MOMENTS:
        hooks.run(Happening(moment=each, subject="m"))
    assert [happening.moment for happening in told] == [moment]
    hooks.remove(moment, told.append)
    hooks.run(Happening(moment=moment))
    assert len(told) == 1


def test_what_a_hook_raises_is_counted_and_logged_and_the_others_still_run(caplog) -> None:
    hooks, told = Hooks(), []

    def fails(happening):
        raise ZeroDivisionError(f"a hook's own fault: {happening.arguments}")

    hooks.add("after_training", fails)
    hooks.add("after_training", told.append)
    with caplog.at_level(logging.WARNING):
        hooks.run(Happening(moment="after_training", arguments={"x": "payload"}))
    assert hooks.failures == 1
    assert len(told) == 1
    assert "fails" in caplog.text
    assert "ZeroDivisionError at test_hooks.py:" in caplog.text
    assert "payload" not in caplog.text


def test_what_cannot_be_a_hook_is_refused_when_it_is_added() -> None:
    async def later(happening): ...

    with pytest.raises(IntegrationError, match="plain function"):
        Hooks().add("before_study", later)
    with pytest.raises(IntegrationError, match="before_study"):
        Hooks().add("before_lunch", print)
