"""Files as the log knows them: cheap to list, with statistics on demand."""

from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import observations, rows


def test_a_listing_has_the_statistics_that_the_log_has_for_every_file(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(rows("observations", 3, record_hash="'h' || i", month="'2020-0' || (i + 1)", value="i::double"))
    described = table.delta().get_add_actions(flatten=True)
    names = described.column_names
    logged = {row[0]: row for row in zip(*(described.column(name).to_pylist() for name in names), strict=True)}
    for file in table.files():
        known = dict(zip(names, logged[file.path], strict=True))
        assert (file.bytes, file.rows, file.partition) == (
            known["size_bytes"],
            known["num_records"],
            {"month": known["partition.month"]},
        )
        for prefix, side in (("min.", file.minimum), ("max.", file.maximum), ("null_count.", file.nulls)):
            assert dict(side) == {name[len(prefix) :]: known[name] for name in names if name.startswith(prefix)}
            assert len(side) == len(dict(side)) > 0
        assert file.minimum.get("no such column") is None


def test_a_listing_is_read_once_per_version_and_never_for_another(lake: Lake) -> None:
    table = lake.table("observations")
    for key in "abcdef":
        table.append(observations([key]))
    head = table.version()
    found = {version: [file.rows for file in table.files(version=version)] for version in range(head + 1)}
    assert found == {version: [1] * version for version in range(head + 1)}
    assert table.files()[0] is table.files(version=head)[0]
