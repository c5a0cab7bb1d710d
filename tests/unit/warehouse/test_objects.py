"""Objects of any size, written and read a piece at a time, in a folder and in a bucket."""

import pytest

from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.objects import open_objects


def test_a_large_object_is_written_and_read_in_pieces_and_a_failed_one_is_not_there(any_settings: Settings) -> None:
    objects = open_objects(any_settings.lake_root, any_settings.storage_options)
    content = [bytes([number]) * 1_500_000 for number in range(8)]
    objects.write_pieces("some/where", content)
    found = list(objects.pieces("some/where"))
    assert b"".join(found) == b"".join(content) == objects.read("some/where")
    assert len(found) > 1

    def fails() -> "object":
        yield b"x" * 6_000_000
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        objects.write_pieces("some/thing", fails())  # type: ignore[arg-type]
    assert objects.names("some") == ["where"]
    with pytest.raises(FileNotFoundError):
        next(objects.pieces("some/thing"))
