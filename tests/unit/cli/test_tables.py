"""Tables on a screen of 80 columns."""

import io

from rich.console import Console

from retention_pipelines.cli.tables import fitting

# As wide as plans on record get.
ROWS = [
    ("97394854c98e", "aggregated_time_series_archive", "downsample", "11-23 01:02", "published", "12,345,678"),
    ("0123456789ab", "feature_store", "delete", "11-23 01:02", "refused", "0"),
]


def test_what_is_typed_again_is_whole_on_80_columns_and_nothing_is_cut() -> None:
    names = ("plan", "dataset", "action", "as of", "state", "removed")
    table = fitting(*names, whole=tuple(name for name in names if name != "dataset"))
    for row in ROWS:
        table.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    said = out.getvalue()
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80
    for row in ROWS:
        assert all(cell in said for place, cell in enumerate(row) if place != 1)
