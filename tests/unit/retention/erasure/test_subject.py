"""What an erasure order names: read as people write it, found in texts without its neighbours."""

import pytest

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.erasure.subject import Subject, without
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text as written
from retention_pipelines.retention.policies.governed import governed

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
    ("dataset", "whales", "All of whales.", True),
    ("dataset", "whales", "All of whales... and more.", True),
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


# What is left of a filter that keeps something, without `x/1`; never less of anything else.
NARROWED = [
    ("source_data_id = 'x/1'", None),
    ("source_data_id in ('x/1')", None),
    ("source_data_id in ('x/1', 'x/2')", "source_data_id in ('x/2')"),
    ("source_data_id = 'x/1' or quality_score > 0.5", "quality_score > 0.5"),
    ("source_data_id = 'x/1' and quality_score > 0.5", None),
    ("source_data_id != 'x/1' and quality_score > 0.5", "quality_score > 0.5"),
    ("not source_data_id = 'x/1'", "everything"),
    ("not (source_data_id != 'x/1' or quality_score > 0.5)", "everything"),
    ("quality_score > 0.5", "quality_score > 0.5"),
]


@pytest.mark.parametrize(("match", "left"), NARROWED)
def test_a_filter_loses_the_name_and_keeps_all_else_it_kept(match: str, left: str | None) -> None:
    fields = governed("feature_store").fields
    found = without(parse(match, fields), Subject.read("study", "x/1").mentioned_in)
    assert (None if found is None else written(found)) == (None if left is None else written(parse(left, fields)))
