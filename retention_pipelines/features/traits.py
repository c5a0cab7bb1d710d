"""The traits table: which taxa are threatened, commercial or endemic, as the user's file says."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from retention_pipelines.errors import FeatureError

FLAGS = ("threatened", "commercial", "endemic")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": None}


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Flags by scientific name; `stated` are the flags the file has a column for."""

    table: pa.Table
    stated: frozenset[str]


def load_traits(path: Path | None) -> Traits:
    """Read a CSV with scientific_name and any of threatened, commercial, endemic (true/false, yes/no, 1/0 or empty)."""
    columns: dict[str, list[object]] = {"scientific_name": [], **{flag: [] for flag in FLAGS}}
    stated: frozenset[str] = frozenset()
    if path is not None:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                header = set(reader.fieldnames or ())
                rows = list(reader)
        except OSError as error:
            raise FeatureError(
                f"The traits file {path} cannot be read: {error}.", hint="Check RETENTION_TRAITS_FILE."
            ) from error
        stated = frozenset(header & set(FLAGS))
        if "scientific_name" not in header or not stated:
            raise FeatureError(
                f"The traits file {path} has the columns {sorted(header)}.",
                hint="It needs scientific_name and at least one of threatened, commercial, endemic.",
            )
        seen: set[str] = set()
        for number, row in enumerate(rows, start=2):
            name = (row["scientific_name"] or "").strip()
            if not name or name in seen:
                raise FeatureError(
                    f"Line {number} of the traits file {path} has {'no' if not name else 'a repeated'} name {name!r}.",
                    hint="Every taxon needs one line with its scientific name.",
                )
            seen.add(name)
            columns["scientific_name"].append(name)
            for flag in FLAGS:
                word = (row.get(flag) or "").strip().lower()
                if word not in _WORDS:
                    raise FeatureError(
                        f"Line {number} of the traits file {path}: {flag} is {word!r}.",
                        hint="Use true, false or nothing.",
                    )
                columns[flag].append(_WORDS[word])
    schema = pa.schema([("scientific_name", pa.string()), *((flag, pa.bool_()) for flag in FLAGS)])
    return Traits(table=pa.table(columns, schema=schema), stated=stated)
