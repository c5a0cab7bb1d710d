"""What an erasure order names: read as people write it, found in texts without its neighbours."""

import pytest

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.erasure_subject import Subject

MISTAKES = [
    ("study", "survey", "names no study"),
    ("study", "survey/", "names no study"),
    ("study", "/haul", "names no study"),
    ("whale", "x", "cannot be erased"),
    ("taxon", "  ", "names no taxon"),
    ("taxon", "Ga\ndus", "names no taxon"),
]


@pytest.mark.parametrize(("kind", "value", "said"), MISTAKES)
def test_a_subject_that_names_nothing_is_refused(kind: str, value: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        Subject.read(kind, value)


def test_names_are_compared_composed_and_of_people_and_taxa_without_case() -> None:
    assert Subject.read("contributor", " ZOE\u0308 ") == Subject.read("contributor", "zo\u00eb")
    assert Subject.read("study", "a/B") != Subject.read("study", "a/b")


FOUND = [
    ("dataset", "whales", "of whales/1", True),
    ("dataset", "whales", "whales-2018", False),
    ("dataset", "whales", "whales.v2", False),
    ("study", "a/h 1", "x a/h 1, y", True),
    ("study", "a/h 1", "a/h 12", False),
    ("study", "a/h'\"1", '{"x": "a/h\'\\"1"}', True),
    ("contributor", "ana silva", "By Ana Silva.", True),
    ("contributor", "ana silva", "Joana Silvas", False),
    ("contributor", "zo\u00eb", '["Zo\\u00eb"]', True),
]


@pytest.mark.parametrize(("kind", "value", "text", "found"), FOUND)
def test_a_mention_is_the_whole_name_and_no_part_of_another(kind: str, value: str, text: str, found: bool) -> None:
    assert Subject.read(kind, value).mentioned_in(text) is found
