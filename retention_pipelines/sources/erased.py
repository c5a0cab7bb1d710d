"""What was erased by order does not come back: the list beside the lake, and its part in ingestion.

The list holds keyed digests of studies, taxa, contributors and datasets, no names; it lies beside the lake, so that no
way in passes it by. What does not belong here: carrying an order out (`retention/erasure/eraser.py`).
"""

import hashlib
import hmac
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa

from retention_pipelines.errors import FileRefused, SourceError
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.settings import Settings
from retention_pipelines.sources.staging import Staged
from retention_pipelines.warehouse.duck import statement
from retention_pipelines.warehouse.lake import Lake
from retention_pipelines.warehouse.objects import open_objects

Kind = Literal["study", "taxon", "contributor", "dataset"]
REASON = "erased"
NAME = "_erased.json"
#: Columns that name a taxon: the name, its identifier, and the ranks above it.
TAXON = (
    "scientific_name",
    "scientific_name_id",
    "vernacular_name",
    "kingdom",
    "phylum",
    "class",
    "order",
    "family",
    "genus",
)
#: Terms of Darwin Core that name people and institutions, where a source has them beyond rights_holder.
AGENTS = (
    "recordedBy",
    "recordedByID",
    "identifiedBy",
    "identifiedByID",
    "georeferencedBy",
    "measurementDeterminedBy",
    "rightsHolder",
    "institutionCode",
)


class ErasedSubject(FileRefused):
    """The whole file is about something that was erased by order; not even a copy is kept."""


def normal(kind: Kind, value: str) -> str:
    """A name as it is compared: composed, without blanks around it; of taxa and people in lower case, sign by sign.

    The same as `as_name` of `retention/erasure/erasure_macros.sql`, so a capital I with a dot is an i and the two small
    sigmas are one.
    """
    text = unicodedata.normalize("NFC", value).strip()
    if kind not in ("taxon", "contributor"):
        return text
    return "".join(sign.lower()[0] for sign in text).replace("\u03c2", "\u03c3")


def subject_digest(secret: bytes, kind: Kind, value: str) -> bytes:
    """The keyed digest that stands for a subject."""
    return hmac.new(secret, f"erased\0{kind}\0{normal(kind, value)}".encode(), hashlib.sha256).digest()


def people(written: str) -> Iterable[str]:
    """The names in a field that may hold several."""
    return (name.strip() for name in written.replace(";", "|").split("|") if name.strip())


@dataclass(frozen=True, kw_only=True)
class ErasedList:
    """Digests of what was erased, by kind, with the order's number."""

    secret: bytes
    digests: Mapping[Kind, Mapping[str, int]]

    def order(self, kind: Kind, value: str) -> int | None:
        """The order by which something was erased; None where none says so."""
        known = self.digests.get(kind)
        return None if not known else known.get(subject_digest(self.secret, kind, value).hex())


def read_erased(lake: Lake) -> ErasedList | None:
    """The list beside a lake; None where nothing was ever erased. Raises SourceError where it cannot be read."""
    content = open_objects(lake.root, lake.settings.storage_options).read(NAME)
    if content is None:
        return None
    secret = load_secret(lake.settings)
    found = json.loads(content)
    if not hmac.compare_digest(str(found["check"]), _check(secret)):
        raise SourceError(
            "The list of what was erased from this lake was made with another secret, so nothing can be compared.",
            hint="Set RETENTION_CACHE_SECRET to that of the machine that erased; until then nothing is ingested.",
        )
    digests: dict[Kind, dict[str, int]] = {}
    for one in found["erased"]:
        digests.setdefault(one["kind"], {})[one["digest"]] = one["order"]
    return ErasedList(secret=secret, digests=digests)


def add_erased(lake: Lake, kind: Kind, digest: bytes, order: int) -> None:
    """Put a subject on the list; a second time changes nothing. One process at a time may call this."""
    known = read_erased(lake)
    secret = load_secret(lake.settings)
    entries = [
        {"kind": other, "digest": text, "order": number}
        for other, of in (known.digests if known else {}).items()
        for text, number in of.items()
        if (other, text) != (kind, digest.hex())
    ]
    entries.append({"kind": kind, "digest": digest.hex(), "order": order})
    content = json.dumps({"check": _check(secret), "erased": entries}, indent=1).encode()
    open_objects(lake.root, lake.settings.storage_options).write(NAME, content)


def refuse_erased(erased: ErasedList | None, part: Staged) -> None:
    """Refuse a file all of whose rows are of a dataset or contributor that was erased."""
    if erased is None:
        return
    for kind, value in (("dataset", part.dataset_id), ("contributor", part.rights_holder)):
        order = erased.order(kind, value) if value else None  # type: ignore[arg-type]
        if order is not None:
            raise ErasedSubject(f"What it holds was erased by order {order} and is not taken again.")


def suppress(con: duckdb.DuckDBPyConnection, erased: ErasedList | None, part: Staged) -> None:
    """Give the rows of `checked_rows` that were erased that reason, and nothing that tells what they were."""
    if erased is None or not any(erased.digests.values()):
        return
    columns = set(con.table("checked_rows").columns)
    found: list[tuple[str, str]] = []
    if erased.digests.get("study"):
        found += [
            ("event_id", one) for one in _values(con, "event_id") if erased.order("study", f"{part.dataset_id}/{one}")
        ]
    if erased.digests.get("taxon"):
        for name in TAXON:
            if name in columns:
                found += [(name, one) for one in _values(con, name) if erased.order("taxon", one)]
    if erased.digests.get("contributor"):
        if "rights_holder" in columns:
            found += [
                ("rights_holder", one) for one in _values(con, "rights_holder") if erased.order("contributor", one)
            ]
        if "dynamic_properties" in columns:
            found += [
                ("dynamic_properties", one)
                for one in _values(con, "dynamic_properties")
                if any(erased.order("contributor", name) for name in named_in(one))
            ]
    for column in {name for name, _ in found}:
        texts = [value for name, value in found if name == column]
        con.register("erased_values", pa.table({"erased_value": pa.array(texts, pa.string())}))
        rows = con.table("checked_rows").select(
            duckdb.ColumnExpression("source_row"), duckdb.ColumnExpression(column).cast("VARCHAR").alias("named")
        )
        rows.create_view("erased_candidates", replace=True)
        con.execute(statement("retention_pipelines.sources", "erased"))
        con.execute("drop view erased_candidates")
        con.unregister("erased_values")


def named_in(properties: str) -> set[str]:
    """People and institutions that the further columns of a row name."""
    try:
        found = json.loads(properties)
    except ValueError:
        return set()
    if not isinstance(found, dict):
        return set()
    return {name for term in AGENTS if isinstance(found.get(term), str) for name in people(found[term])}


def _values(con: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    found = con.table("checked_rows").select(duckdb.ColumnExpression(column).cast("VARCHAR").alias("named")).distinct()
    return [row[0] for row in found.fetchall() if row[0] is not None]


def _check(secret: bytes) -> str:
    return hmac.new(secret, b"list of what was erased", hashlib.sha256).hexdigest()


def digest_for(settings: Settings, kind: Kind, value: str) -> bytes:
    """The digest of a subject with the secret of these settings."""
    return subject_digest(load_secret(settings), kind, value)


__all__ = ["AGENTS", "NAME", "REASON", "TAXON", "ErasedList", "ErasedSubject", "add_erased", "digest_for", "normal"]
