"""When a lone caller watches for the server's answer instead of sleeping."""

from retention_pipelines.postgres.watching import LOOKS, Watching


def asked(watching: Watching, times: int, *, answered: bool, alone: bool = True) -> int:
    """Ask so often; how many of the questions were watched."""
    watched = 0
    for _ in range(times):
        if watching.begin(alone=alone):
            watched += 1
            if not answered:
                watching.in_vain()
    return watched


def test_one_caller_who_asks_alone_for_a_while_watches_for_as_long_as_answers_come() -> None:
    watching = Watching()
    assert asked(watching, 255, answered=True) == 0
    assert watching.begin(alone=True) == LOOKS
    assert asked(watching, 10_000, answered=True) == 10_000


def test_callers_beside_each_other_never_watch_and_not_soon_after() -> None:
    watching = Watching()
    asked(watching, 1_000, answered=True)
    assert asked(watching, 1_000, answered=True, alone=False) == 0
    assert asked(watching, 255, answered=True) == 0
    assert watching.begin(alone=True) == LOOKS


def test_where_answers_come_late_hardly_any_question_is_watched() -> None:
    watching = Watching()
    assert asked(watching, 1_000_000, answered=False) < 1_000


def test_who_watched_in_vain_watches_again_after_a_rest_when_answers_come_in_time() -> None:
    watching = Watching()
    asked(watching, 5_000, answered=False)
    assert watching.begin(alone=True) == 0
    asked(watching, 2**16, answered=True)
    assert asked(watching, 1_000, answered=True) == 1_000


def test_a_late_answer_now_and_then_changes_nothing() -> None:
    watching = Watching()
    asked(watching, 256, answered=True)
    for _ in range(200):
        assert asked(watching, 99, answered=True) == 99
        assert asked(watching, 1, answered=False) == 1
