"""What a delivery's duplicates rest on: the earlier deliveries that brought the rows they equal.

A line of the ledger says it in its fingerprint, `<identity>:<look>:<delivery>:<rests>`. The rests are a list, with
commas, of `<delivery>.<part>=<rows>`; the rows are ranges of row numbers, `1-300+305`. A delivery is whole while all it
rests on stands. When one of these was taken back, it is read again, and the rows that rested on that one come in, if
nobody else brought them. Its other rows do not come a second time, whoever removed them. What does not belong here:
taking back (`warehouse/deliveries.py`).
"""

from collections.abc import Collection, Mapping, Sequence

import duckdb

from retention_pipelines.sources.report import FileReport
from retention_pipelines.warehouse.deliveries import LEDGER
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.lake import Lake
from retention_pipelines.warehouse.transactions import delivery_id

_SQL = "retention_pipelines.sources"
#: Longer texts leave the row numbers out, so that every row of the part is taken for one that rests on the delivery.
LONGEST = 20_000
_HAS_LINES = "select 1 from ledger_lines limit 1"
_EVERY_ROW = (0, 2**62)
#: Ranges of row numbers, both ends included, in order and apart.
Ranges = Sequence[tuple[int, int]]


def read_lines(lake: Lake, identities: Collection[str] | None = None) -> bool:
    """Make `ledger_lines` known, of all deliveries or those of some identities, and which are whole; whether any is."""
    bind(lake.con, "ledger_rows", lake.table(LEDGER).scan())
    lake.con.execute(statement(_SQL, "ledger_lines"), [None if identities is None else list(identities)])
    found = lake.con.execute(_HAS_LINES).fetchall()
    if found:  # a new file has none: it is not worth a second look at the ledger
        lake.con.execute(statement(_SQL, "gone_deliveries"))
    return bool(found)


def fingerprint_of(report: FileReport, op: str) -> str | None:
    """What the ledger keeps as a line's fingerprint."""
    if report.fingerprint is None or report.status != "ingested":
        return report.fingerprint
    return f"{report.fingerprint}:{delivery_id(op)}:{report.rests}"


def rests_of(con: duckdb.DuckDBPyConnection, part: int, sha256: str) -> str:
    """What the duplicates of a part of that content rest on, by `known_rows` and `ledger_rows`."""
    found = con.execute(statement(_SQL, "rests"), [sha256]).fetchall()
    texts = [f"{delivery}.{part}={rows}" for delivery, rows in found]
    if sum(map(len, texts)) > LONGEST:
        texts = [f"{delivery}.{part}=" for delivery, _ in found]
    return ",".join(texts)


def lost_rows(con: duckdb.DuckDBPyConnection, identity: str) -> list[Mapping[int, Ranges]]:
    """Of each standing line with that identity, by part: rows that rested on deliveries that stand no more.

    By the lines that were read last, with that identity among them.
    """
    if not con.execute(_HAS_LINES).fetchall():
        return []
    found = con.execute(statement(_SQL, "lost_rests"), [identity]).fetchall()
    return [_read(rests, set(gone)) for rests, gone in found]


def _read(rests: str, gone: Collection[str]) -> Mapping[int, Ranges]:
    found: dict[int, list[tuple[int, int]]] = {}
    for rest in rests.split(",") if rests else ():
        name, _, rows = rest.partition("=")
        delivery, _, part = name.partition(".")
        if delivery in gone:
            found.setdefault(int(part), []).extend(_ranges(rows))
    return {part: _apart(ranges) for part, ranges in found.items()}


def _ranges(rows: str) -> Ranges:
    if not rows:
        return [_EVERY_ROW]
    ends = (one.partition("-")[::2] for one in rows.split("+"))
    return [(int(low), int(high or low)) for low, high in ends]


def _apart(ranges: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def keep_out(con: duckdb.DuckDBPyConnection, lost: Ranges) -> None:
    """Count rows of `checked_rows` outside of these ranges as duplicates: an earlier coming of the file had them."""
    lows, highs = [low for low, _ in lost], [high for _, high in lost]
    con.execute(statement(_SQL, "keep_out"), [lows, highs])


def to_deliver_again(lake: Lake) -> tuple[str, ...]:
    """Paths of deliveries that counted rows as duplicates of what was taken back since, and did not come again."""
    if not read_lines(lake):
        return ()
    return tuple(row[0] for row in lake.con.execute(statement(_SQL, "to_deliver_again")).fetchall())
