"""A drafted mapping says what to edit and, edited, reads the file."""

from datetime import UTC, datetime

import pytest

from retention_pipelines.errors import MappingError
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.sources.mapping import parse


def test_an_unknown_file_gets_a_draft_that_reads_it_once_edited(lake, settings, tmp_path):
    path = tmp_path / "cruise.csv"
    path.write_text("Station;Date;Lat;Lon;Depth;Temp;Mystery\nA1;2020-05-06;-12.5;13.25;5;17.5;x\n")
    (refused,) = ingest(path, lake, now=datetime(2026, 1, 1, tzinfo=UTC)).files
    (draft,) = (settings.state_dir / "drafts").glob("cruise-*.yaml")
    assert str(draft) in str(refused.error)
    text = draft.read_text()
    assert "EDIT" in text
    if "variable: EDIT" in text:
        with pytest.raises(MappingError):
            parse(text, "draft")
        text = "\n".join(line for line in text.splitlines() if "variable: EDIT" not in line)
        text += '\n  - {column: "Temp", variable: temperature_degc, unit: degree_Celsius}\n'
    draft.write_text(text)
    ingest(path, lake, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert draft.read_text() == text, "what somebody edited is not written over"
    (file,) = ingest(path, lake, now=datetime(2026, 1, 1, tzinfo=UTC), mapping=str(draft)).files
    assert (file.status, file.accepted, file.values) == ("ingested", 1, 1)
    lake.create_views()
    found = lake.con.execute(
        "select event_id, depth_m, value, dynamic_properties->>'Mystery' from observations"
    ).fetchall()
    assert found == [("A1", 5.0, 17.5, "x")]
