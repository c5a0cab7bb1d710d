"""A plan: what a run may remove, sealed by a hash over everything that was decided.

The plan is the dry run, the API's answer and an asset's metadata. Whoever executes it names its hash, and may remove
less than it says, never more. What does not belong here: how rows are found (`select_lake.py`), guards, execution.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from retention_pipelines.retention.policies.decide import Verdict
from retention_pipelines.retention.policies.policy import Action, PolicySet

Fate = Literal["keep", "drop", "rewrite", "leave", "newest"]
# What rows are ruled by that have expired and stay, because they are all there is of the newest partition.
NEWEST = "newest_partition"
# Of the rows of a partition: from here on rewriting it is worth it.
REWRITE_SHARE = 0.3
ROW_SCHEMA = pa.schema(
    [
        ("partition", pa.string()),
        ("row_id", pa.string()),
        ("policy_id", pa.string()),
        ("policy_version", pa.int32()),
        ("anchored_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionPlan:
    """What happens to a partition.

    Attributes:
        partition: its name, such as `feature_type=species/month=2026-06`; empty where a table has none.
        size_bytes: bytes of its files, or of the relation.
        fate: keep (nothing expired, or packed already), drop (whole), rewrite (without the expired rows; packed),
            leave for a later run, or newest: all of it has expired, and it stays.
        told: digest over which rows it holds, where it goes whole and no row of it is named; None: not known.
        seen: `<oid>/<xid>` in Postgres: the relation, and the transaction before which all had ended; None: not known.
    """

    partition: str
    rows: int
    expired: int
    size_bytes: int
    fate: Fate
    told: int | None = None
    seen: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictCount:
    """Rows with the same verdict for the same reason.

    Attributes:
        policy: `id vN` of the governing policy; None where none governs.
        ruled_by: the protection or erasure order that decided; `NEWEST` for expired rows of a newest partition that
            stays.
        anomaly: no_anchor or in_future.
        size_bytes: their share of the bytes of their files, by rows.
    """

    policy: str | None
    verdict: Verdict
    ruled_by: str | None
    anomaly: str | None
    rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Haste:
    """What pressure changed in a plan: it is decided as if policies kept rows for a shorter time.

    Attributes:
        level: how full the disk was: easy, low, high or full.
        forward_share: share of the time its policy keeps it that a row may go early by.
        bytes_to_free: what was wanted; no more than that is chosen.
        grace_seconds: longest grace of what goes; None: as the policies say.
    """

    level: str
    forward_share: float
    bytes_to_free: int
    grace_seconds: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sealed plan over one dataset.

    Attributes:
        only: id of the one policy it executes; None for all of the dataset with this action.
        policies: `id vN` of the policies it was made with, in their order.
        protections: labels of the holds, pins, roots, leases and erasure orders that were in force.
        store_version: version of the lake table that was read; None for Postgres.
        haste: what pressure changed; None in a plan made without.
        rows: the rows that go where a partition does not go whole, sorted; columns of `ROW_SCHEMA`.
        sha256: seal over all of it.
    """

    dataset: str
    action: Action
    only: str | None
    as_of: datetime
    policies: tuple[str, ...]
    protections: tuple[str, ...]
    store_version: int | None
    partitions: tuple[PartitionPlan, ...]
    counts: tuple[VerdictCount, ...]
    rows: pa.Table
    sha256: str
    haste: Haste | None = None

    @property
    def total_rows(self) -> int:
        """Rows of the dataset."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def expired_rows(self) -> int:
        """Rows that have expired, those left for a later run and those of newest partitions included."""
        return sum(partition.expired for partition in self.partitions)

    @property
    def removed_rows(self) -> int:
        """Rows that executing the plan takes out of the dataset; compressing takes none out."""
        if self.action == "compress":
            return 0
        return sum(partition.expired for partition in self.partitions if partition.fate in ("drop", "rewrite"))

    @property
    def newest_rows(self) -> int:
        """Rows that have expired and stay, because nothing else is left of their newest partition."""
        return sum(partition.expired for partition in self.partitions if partition.fate == "newest")

    @property
    def ungoverned_rows(self) -> int:
        """Rows that no policy matches; they are kept."""
        return sum(count.rows for count in self.counts if count.policy is None)


def fate(
    *,
    rows: int,
    expired: int,
    newest: bool,
    parted: bool = True,
    erasing: bool = False,
    rewrite_share: float = REWRITE_SHARE,
) -> Fate:
    """What happens to a partition: whole when all may go, never the newest; rewritten when it is worth it.

    Rewriting the newest without any of its rows would be dropping it, so then it stays, but for an erasure. What is not
    `parted`, a table without partitions or the one for rows of no day, cannot be dropped; its rows may all go.
    """
    if not expired:
        return "keep"
    if expired == rows and parted and not newest:
        return "drop"
    if expired == rows and parted and not erasing:
        return "newest"
    return "rewrite" if erasing or expired >= rewrite_share * rows else "leave"


def seal(
    *,
    dataset: str,
    action: Action,
    only: str | None,
    as_of: datetime,
    policies: Sequence[str],
    protections: Sequence[str],
    store_version: int | None,
    partitions: Sequence[PartitionPlan],
    counts: Sequence[VerdictCount],
    rows: pa.Table,
    haste: Haste | None = None,
) -> Plan:
    """Sort and seal a plan: the same content in any order has the same hash (RFC 8785, then SHA-256)."""
    rows = _in_order(rows.select(ROW_SCHEMA.names).cast(ROW_SCHEMA).combine_chunks())
    ordered = tuple(sorted(partitions, key=lambda partition: partition.partition))
    counted = tuple(
        sorted(counts, key=lambda one: (one.policy or "", one.verdict, one.ruled_by or "", one.anomaly or ""))
    )
    content: dict[str, Any] = {
        "dataset": dataset,
        "action": action,
        "only": only,
        "as_of": as_of.astimezone(UTC).isoformat(),
        "policies": list(policies),
        "protections": sorted(protections),
        "store_version": store_version,
        "partitions": [_fields(partition) for partition in ordered],
        "counts": [_fields(count) for count in counted],
        "rows": _digest(rows),
    }
    if haste is not None:
        content["haste"] = asdict(haste)
    return Plan(
        dataset=dataset,
        action=action,
        only=only,
        as_of=as_of,
        policies=tuple(policies),
        protections=tuple(sorted(protections)),
        store_version=store_version,
        partitions=ordered,
        counts=counted,
        rows=rows,
        sha256=hashlib.sha256(rfc8785.dumps(content)).hexdigest(),
        haste=haste,
    )


def hastened(policies: PolicySet, haste: Haste | None) -> PolicySet:
    """The policies as pressure has them decide: an entry's own end is no time to keep it for, and never moves."""
    if haste is None or not haste.forward_share:
        return policies
    share = 1 - haste.forward_share
    return PolicySet(
        policies.dataset,
        tuple(
            one
            if one.anchor == "expires_at"
            else replace(one, keep_seconds=max(1, math.ceil(one.keep_seconds * share)))
            for one in policies.policies
        ),
    )


def is_intact(plan: Plan) -> bool:
    """Whether a plan's content is what was sealed."""
    again = seal(
        dataset=plan.dataset,
        action=plan.action,
        only=plan.only,
        as_of=plan.as_of,
        policies=plan.policies,
        protections=plan.protections,
        store_version=plan.store_version,
        partitions=plan.partitions,
        counts=plan.counts,
        rows=plan.rows,
        haste=plan.haste,
    )
    return again.sha256 == plan.sha256


def _fields(one: PartitionPlan | VerdictCount) -> Mapping[str, str | int | None]:
    found = {name: getattr(one, name) for name in one.__slots__}
    if (told := found.pop("told", None)) is not None:
        found["told"] = str(told)  # larger than what JSON numbers hold everywhere
    if (seen := found.pop("seen", None)) is not None:
        found["seen"] = seen
    return found


def _in_order(rows: pa.Table) -> pa.Table:
    """Rows by partition and name. Most come in that order, and looking costs a tenth of sorting."""
    if rows.num_rows < 2:
        return rows
    partition, name = (rows[key].combine_chunks() for key in ("partition", "row_id"))
    before, after = slice(0, -1), slice(1, None)
    same = pc.equal(partition[before], partition[after])
    rising = pc.less(partition[before], partition[after])
    named = pc.and_(same, pc.less_equal(name[before], name[after]))
    if pc.all(pc.or_(rising, named)).as_py():
        return rows
    return rows.sort_by([("partition", "ascending"), ("row_id", "ascending")])


def _digest(rows: pa.Table) -> str:
    """SHA-256 over the columns: of each its name, then lengths and bytes of its values, nulls marked."""
    digest = hashlib.sha256(rows.num_rows.to_bytes(8, "big"))
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        if not pa.types.is_string(column.type):
            column = column.cast(pa.int64())
        digest.update(name.encode())
        digest.update(_bits(column.is_null()))
        if pa.types.is_string(column.type):
            column = column.fill_null("")
            digest.update(memoryview(pc.binary_length(column).to_numpy()).cast("B"))
            digest.update(_content(column))
        else:
            digest.update(memoryview(column.fill_null(0).to_numpy(zero_copy_only=False)).cast("B"))
    return digest.hexdigest()


def _content(column: pa.StringArray) -> memoryview:
    """The bytes of all texts, one after the other."""
    _, offsets, content = column.buffers()
    if content is None or not len(column):
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(content)[ends[column.offset] : ends[column.offset + len(column)]]


def _bits(mask: pa.Array) -> bytes:
    return bytes(memoryview(mask.cast(pa.uint8()).to_numpy(zero_copy_only=False)).cast("B"))
