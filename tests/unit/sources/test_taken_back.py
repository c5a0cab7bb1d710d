"""A delivery that was taken back, and others that counted its rows as duplicates: nothing is missing, nothing twice."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from retention_pipelines.defs.expectations import conserved
from retention_pipelines.errors import CommitConflict
from retention_pipelines.sources.erased import add_erased, digest_for
from retention_pipelines.sources.report import FileReport, IngestReport
from retention_pipelines.sources.rests import to_deliver_again
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.table import Table
from retention_pipelines.warehouse.transactions import delivery_id
from tests.unit.sources.test_argo import write_profiles
from tests.unit.sources.test_ingest import bottle, never_read, rows, take

__all__ = ["never_read", "take"]
Take = Callable[..., IngestReport]


def row(depth: int, month: str = "02") -> str:
    return f"-120.5,33.5,2001-{month}-03,1,{depth},1,15.5,33.1,98"


def bad(depth: int) -> str:
    return f"-120.5,99,2001-02-03,1,{depth},1,15.5,33.1,98"


def depths(lake: Lake) -> list[int]:
    """The depth of every value, thrice for a row that is there once."""
    return [int(str(found[0])) for found in rows(lake, "select depth_m::integer from observations order by all")]


def counted(file: FileReport) -> tuple[str, int, int, int]:
    assert file.read == file.accepted + file.quarantined + file.duplicates
    return file.status, file.accepted, file.quarantined, file.duplicates


def adds_up(lake: Lake) -> bool:
    finding = conserved(lake)
    return finding.failing == 0 and not finding.in_doubt


def undo(lake: Lake, path: Path) -> None:
    """Take back the newest delivery of a file."""
    found = rows(lake, "select split_part(fingerprint, ':', 3), path from ingested_files where status = 'ingested'")
    deliveries = {delivery for delivery, where in found if where == str(path)}
    for entry in lake.table("ingested_files").history():
        if entry.transaction and delivery_id(entry.transaction) in deliveries:
            lake.undo("ingested_files", entry.version)
            return
    raise AssertionError(f"{path} has no delivery")


@pytest.fixture
def overlapping(tmp_path: Path) -> tuple[Path, Path]:
    first = bottle(tmp_path, row(1), bad(1), name="first.csv")
    return first, bottle(tmp_path, row(1), row(2), bad(1), bad(2), name="second.csv")


@pytest.mark.parametrize("name", ["second.csv", "renamed.csv"])  # known by its look, or by what was read of it
def test_rows_that_were_duplicates_of_a_delivery_taken_back_come_in_when_they_come_again(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], name: str
) -> None:
    first, second = overlapping
    take(first)
    assert counted(take(second).files[0]) == ("ingested", 1, 1, 2)
    undo(lake, first)
    assert depths(lake) == [2, 2, 2]
    second = second.rename(second.with_name(name))
    (again,) = take(second).files
    assert counted(again) == ("ingested", 1, 1, 2)
    assert "taken back" in " ".join(again.notes)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert rows(lake, "select count(*), count(distinct record_hash) from quarantine") == [(2, 2)]
    assert counted(take(second).files[0]) == ("duplicate", 0, 0, 4)
    assert counted(take(first).files[0]) == ("ingested", 0, 0, 2)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_deliveries_that_are_whole_are_not_read_when_another_is_taken_back(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first, second = overlapping
    third, fourth = (bottle(tmp_path, *of, name=f"{of[0][-3:]}{len(of)}.csv") for of in ([row(3)], [row(3), row(4)]))
    take(first, second, third, fourth)
    assert to_deliver_again(lake) == ()
    undo(lake, first)
    assert to_deliver_again(lake) == (str(second),)
    take(second)
    assert to_deliver_again(lake) == ()
    request.getfixturevalue("never_read")
    assert {file.status for file in take(second, third, fourth).files} == {"duplicate"}


def test_of_several_later_deliveries_each_may_come_again_and_first_come_is_taken(
    lake: Lake, take: Take, tmp_path: Path
) -> None:
    paths = [bottle(tmp_path, *map(row, range(1, n + 1)), name=f"{n}.csv") for n in (1, 2, 3, 4)]
    take(*paths)
    lake.table("observations").compact(min_files=2)
    undo(lake, paths[0])
    undo(lake, paths[1])
    assert depths(lake) == [3, 3, 3, 4, 4, 4]
    assert to_deliver_again(lake) == (str(paths[2]), str(paths[3]))
    assert [counted(file)[1] for file in take(*paths[:1:-1]).files] == [2, 0]
    assert depths(lake) == sorted([1, 2, 3, 4] * 3)
    # What came in at the second time is taken back, too: then it comes in at the third.
    undo(lake, paths[3])
    assert depths(lake) == [3, 3, 3, 4, 4, 4]
    assert [counted(file)[1] for file in take(*paths[2:]).files] == [2, 0]
    assert depths(lake) == sorted([1, 2, 3, 4] * 3)
    assert adds_up(lake)


def test_a_delivery_whose_first_coming_is_taken_back_brings_what_that_had_brought(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    first, second = overlapping
    for path in (first, second):
        take(path)
    undo(lake, first)
    version = lake.table("observations").version()
    take(second)
    lake.undo("observations", version - 1)  # the first coming of the second file
    assert depths(lake) == [1, 1, 1]
    assert counted(take(second).files[0])[:3] == ("ingested", 1, 1)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_what_retention_removed_of_a_delivery_stays_out_when_its_duplicates_come_again(
    lake: Lake, take: Take, tmp_path: Path
) -> None:
    first = bottle(tmp_path, row(1), name="first.csv")
    other = bottle(tmp_path, row(5, "05"), row(6, "05"), name="other.csv")
    second = bottle(tmp_path, *map(row, (1, 2, 3)), row(5, "05"), row(6, "05"), name="second.csv")
    take(first, other, second)
    lake.table("observations").delete("depth_m in (3, 5)", op="remove plan")
    undo(lake, first)
    assert counted(take(second).files[0]) == ("ingested", 1, 0, 4)
    assert depths(lake) == [1, 1, 1, 2, 2, 2, 6, 6, 6]
    assert adds_up(lake)


def test_what_was_erased_by_order_stays_out_when_duplicates_come_again(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    first, second = overlapping
    take(first, second)
    undo(lake, first)
    event = rows(lake, "select distinct dataset_id || '/' || event_id from observations")[0][0]
    add_erased(lake, "study", digest_for(lake.settings, "study", str(event)), 7)
    lake.table("observations").delete("true", op="erase")
    (again,) = take(second).files
    assert (again.accepted, again.erased) == (0, str(second))
    assert depths(lake) == []


def test_rows_of_an_archive_stay_there_when_a_delivery_comes_again(lake: Lake, take: Take, tmp_path: Path) -> None:
    first = bottle(tmp_path, row(1), name="first.csv")
    second = bottle(tmp_path, row(1), row(2, "03"), name="second.csv")
    take(first, second)
    lake.archive("observations", "month = '2001-03'", run="old")
    undo(lake, first)
    assert take(second).accepted == 1
    assert depths(lake) == [1, 1, 1]


def test_a_list_of_duplicates_too_long_to_keep_lets_all_that_is_missing_come_in(
    lake: Lake, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retention_pipelines.sources.rests.LONGEST", 10)
    first = bottle(tmp_path, *map(row, range(0, 20, 2)), name="first.csv")
    second = bottle(tmp_path, *map(row, range(20)), name="second.csv")
    take(first, second)
    undo(lake, first)
    assert counted(take(second).files[0]) == ("ingested", 10, 0, 10)
    assert depths(lake) == sorted(list(range(20)) * 3)


def test_a_line_of_an_older_release_that_counted_duplicates_is_read_once_more(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    first, second = overlapping
    take(first, second)
    old = "fingerprint[:129]"
    lake.table("ingested_files").rewrite(
        lambda lines: f"select * replace ({old} as fingerprint) from {lines}", op="as before"
    )
    lake.table("observations").delete("depth_m = 1", op="taken back before")
    assert [counted(file) for file in take(first, second).files] == [("duplicate", 0, 0, 2), ("ingested", 1, 0, 3)]
    request.getfixturevalue("never_read")
    assert [file.status for file in take(first, second).files] == ["duplicate"] * 2


def test_a_crash_while_a_delivery_is_taken_back_leaves_all_of_it(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = overlapping
    take(first, second)
    whole = Table.undo

    def breaks(table: Table, version: int) -> object:
        if table.name == "ingested_files":
            raise KeyboardInterrupt
        return whole(table, version)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "undo", breaks)
        with pytest.raises(KeyboardInterrupt):
            undo(lake, first)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert [file.status for file in take(first, second).files] == ["duplicate"] * 2
    undo(lake, first)
    assert depths(lake) == [2, 2, 2]
    assert take(second).accepted == 1


def test_taking_back_a_taking_back_brings_the_whole_delivery(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    first, second = overlapping
    take(first, second)
    undo(lake, first)
    lake.undo("observations", lake.table("observations").version())
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert [file.status for file in take(first, second).files] == ["duplicate"] * 2
    undo(lake, first)
    assert take(second).accepted == 1
    with pytest.raises(CommitConflict, match="came again"):
        lake.undo("observations", lake.table("observations").version() - 1)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_going_back_to_an_earlier_version_takes_back_whole_deliveries(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    first, second = overlapping
    take(first, second)
    lake.restore("observations", 0)
    assert (depths(lake), rows(lake, "from ingested_files"), rows(lake, "from quarantine")) == ([], [], [])
    lake.restore("observations", 0)
    assert [counted(file)[1:] for file in take(first, second).files] == [(1, 1, 0), (1, 1, 2)]
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    lake.restore("observations", 1)
    assert (depths(lake), len(rows(lake, "from quarantine"))) == ([1, 1, 1], 1)
    assert [file.status for file in take(first, second).files] == ["duplicate", "ingested"]
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_a_going_back_is_undone_as_a_whole_and_not_over_what_came_again(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    first, second = overlapping
    take(first, second)
    lake.restore("observations", 1)
    lake.undo("ingested_files", lake.table("ingested_files").version())
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)
    undo(lake, first)
    lake.restore("observations", lake.table("observations").version() - 1)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)
    assert [file.status for file in take(first, second).files] == ["duplicate"] * 2
    lake.restore("observations", 0)
    gone = lake.table("observations").version()
    take(second)
    with pytest.raises(CommitConflict, match="came again"):
        lake.undo("observations", gone)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_the_end_of_a_taking_back_that_failed_is_not_undone_in_one_table_alone(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = overlapping
    take(first, second)
    whole = Table.undo

    def breaks(table: Table, version: int) -> object:
        return 1 / 0 if table.name == "ingested_files" else whole(table, version)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "undo", breaks)
        with pytest.raises(ZeroDivisionError):
            undo(lake, first)
    for name in ("observations", "quarantine"):
        for version in (lake.table(name).version(), lake.table(name).version() - 1):
            with pytest.raises(CommitConflict, match="nothing was done"):
                lake.undo(name, version)
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert [file.status for file in take(first, second).files] == ["duplicate"] * 2


def test_a_delivery_comes_back_everywhere_or_nowhere(lake: Lake, take: Take, overlapping: tuple[Path, Path]) -> None:
    """Observations that went back by a restore of their own do not follow when the ledger goes back to have a line."""
    first, second = overlapping
    take(first, second)
    lake.restore("observations", 0)
    for name in ("ingested_files", "quarantine"):
        with pytest.raises(CommitConflict, match="but not in observations"):
            lake.restore(name, 2)
    assert (depths(lake), rows(lake, "from ingested_files"), rows(lake, "from quarantine")) == ([], [], [])
    assert [counted(file)[1:] for file in take(first, second).files] == [(1, 1, 0), (1, 1, 2)]
    assert adds_up(lake)


def test_what_came_while_a_going_back_waited_for_its_turn_is_taken_back_whole(
    lake: Lake, take: Take, overlapping: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = overlapping
    take(first)
    turn = lake.taking_back

    def late(name: str) -> object:
        monkeypatch.undo()
        take(second)
        return turn(name)

    monkeypatch.setattr(lake, "taking_back", late)
    lake.restore("observations", 0)
    assert (depths(lake), rows(lake, "from ingested_files"), rows(lake, "from quarantine")) == ([], [], [])
    assert adds_up(lake)


def test_going_back_forgets_deliveries_whose_line_is_merged_with_others_for_long(
    lake: Lake, take: Take, overlapping: tuple[Path, Path]
) -> None:
    take(*overlapping)
    table = lake.table("ingested_files")
    merged = table.files()
    table.compact(min_files=2)
    for file in merged:  # as vacuum does after the restore window
        Path(f"{table.root}/{file.path}").unlink()
    lake.restore("observations", 1)
    assert [file.status for file in take(*overlapping).files] == ["duplicate", "ingested"]
    assert depths(lake) == [1, 1, 1, 2, 2, 2]
    assert adds_up(lake)


def test_a_profile_that_is_there_in_another_data_mode_is_told_and_may_be_taken_back(
    lake: Lake, take: Take, tmp_path: Path
) -> None:
    good = {"PRES": [5.0, 10.0], "TEMP": [20.0, 19.0], "PSAL": [35.0, 35.1]}
    adjusted = {f"{name}_ADJUSTED": values for name, values in good.items()}
    first = write_profiles(tmp_path / "R1901_001.nc", [good])
    other = write_profiles(tmp_path / "R1901_002.nc", [good | {"CYCLE_NUMBER": 2}])
    assert [file.notes for file in take(first, other).files] == [(), ()]
    (second,) = take(write_profiles(tmp_path / "D1901_001.nc", [good | adjusted | {"DATA_MODE": "D"}])).files
    note = " ".join(second.notes)
    (mark,) = re.findall(r"1 from R1901_001.nc \((ingest:\w{12})", note)
    assert "R1901_002.nc" not in note
    assert rows(lake, "select event_id, count(*) from observations group by 1 order by 1") == [
        ("1901_1", 8),
        ("1901_2", 4),
    ]
    versions = [one.version for one in lake.table("observations").history() if (one.op or "").startswith(mark)]
    lake.undo("observations", versions[0])
    found = rows(lake, "select distinct source_file, value_kind from observations order by 1")
    assert found == [("D1901_001.nc", "adjusted"), ("R1901_002.nc", "raw")]
