"""What an edit of a policy is said to do."""

import pytest

from retention_pipelines.retention.plans.planning import Effect
from retention_pipelines.retention.policies.policy import Action


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ({"delete"}, "This edit deletes 3 more rows of d (4 -> 7), 90 bytes."),
        ({"archive"}, "This edit archives 3 more rows of d (4 -> 7), 90 bytes."),
        ({"migrate"}, "This edit migrates 3 more rows of d (4 -> 7), 90 bytes."),
        ({"downsample"}, "This edit downsamples 3 more rows of d (4 -> 7), 90 bytes."),
        ({"delete", "archive"}, "This edit lets go 3 more rows of d (4 -> 7), 90 bytes."),
        (set(), "This edit lets go 3 more rows of d (4 -> 7), 90 bytes."),
    ],
)
def test_an_edit_is_said_to_delete_only_where_rows_are_deleted(actions: set[Action], said: str) -> None:
    effect = Effect(dataset="d", before=4, after=7, before_bytes=10, after_bytes=100, actions=frozenset(actions))
    assert effect.sentence() == said
