"""What an erasure order is about, and which rows of the lake that means.

What belongs here: reading the subject as people write it, and conditions over the lake's tables. What does not:
removing (`lake.py`), and what comes back (`sources/erased.py`, which compares names in the same way).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.filter.ast import And, Compare, Everything, Filter, In, Not, Or
from retention_pipelines.sources.erased import Kind, normal
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import set_variables, statement

KINDS: tuple[Kind, ...] = ("study", "taxon", "contributor", "dataset")
RAW = ("occurrences", "observations")
# Signs whose other cases no engine knows of.
_CASES = {"i": "[iIİ]", "\u03c3": "[\u03c3\u03c2\u03a3]"}
# A shorter name stands in too many words to be looked for in texts.
_SHORTEST_MENTION = 4
_IS_DATASET = "dataset_id = getvariable('erased_value')"
_OF_STUDIES = "source_data_id in (select source_data_id from erased_study)"
_CONTRIBUTED = (
    "(as_name(rights_holder) = getvariable('erased_value')"
    " or list_contains(people_in(dynamic_properties), getvariable('erased_value')))"
)
_NOT_HELD = "and (dataset_id || '/' || event_id) not in (select source_data_id from erased_held)"
_IS_STUDY = "dataset_id = getvariable('erased_dataset') and nfc_normalize(event_id) = getvariable('erased_event')"
_NAMED_IN_RECORD = "list_contains(names_in(values_in(raw_record)), getvariable('erased_value'))"
# By kind of subject: which rows of a table, archive or live, are about it.
CONDITIONS: Mapping[Kind, Mapping[str, str]] = {
    "study": {
        "occurrences": _IS_STUDY,
        "observations": _IS_STUDY,
        "quarantine": "dataset_id = getvariable('erased_dataset')"
        " and list_contains([nfc_normalize(one) for one in values_in(raw_record)], getvariable('erased_event'))",
        "feature_store": "nfc_normalize(source_data_id) = getvariable('erased_value')",
    },
    "dataset": dict.fromkeys(
        (
            *RAW,
            "quarantine",
            "feature_store",
            "aggregated_time_series",
            "biodiversity_statistics",
            "seasonal_patterns",
            "trends",
            "upwelling_frequency",
        ),
        _IS_DATASET,
    ),
    "taxon": {
        "occurrences": "getvariable('erased_value') in (as_name(scientific_name), as_name(scientific_name_id),"
        ' as_name(vernacular_name), as_name(kingdom), as_name(phylum), as_name("class"), as_name("order"),'
        " as_name(family), as_name(genus))",
        "quarantine": _NAMED_IN_RECORD,
        "feature_store": _OF_STUDIES,
    },
    "contributor": {
        "occurrences": _CONTRIBUTED,
        "observations": _CONTRIBUTED,
        "quarantine": _NAMED_IN_RECORD,
        "feature_store": _OF_STUDIES,
    },
}
# Free texts that may mention a subject without being about it.
MENTIONS: Mapping[str, tuple[str, ...]] = {
    "occurrences": ("bibliographic_citation", "dynamic_properties", "source_file"),
    "observations": ("bibliographic_citation", "dynamic_properties", "source_file"),
    "quarantine": ("raw_record", "detail", "source_file"),
    "ingested_files": ("path", "notes", "error", "bibliographic_citation", "reasons"),
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A subject; `value` is as it is compared."""

    kind: Kind
    value: str

    @classmethod
    def read(cls, kind: str, value: str) -> "Subject":
        """From what a person typed; raises PolicyError."""
        if kind not in KINDS:
            raise PolicyError(f"{kind!r} cannot be erased.", hint=f"One of {', '.join(KINDS)}.")
        text = normal(kind, value)
        if not text or any(ord(sign) < 32 for sign in text):
            raise PolicyError(f"{value!r} names no {kind}.", hint="Give it as the data has it.")
        if kind == "study" and not all(text.partition("/")[::2]):
            raise PolicyError(
                f"{value!r} names no study.", hint="A study is DATASET/EVENT, as source_data_id of the feature store."
            )
        return cls(kind=kind, value=text)

    def condition(self, table: str) -> str | None:
        """SQL over a table of the lake: the rows that are about it; None: none are. See `bind_to`."""
        return CONDITIONS[self.kind].get(table)

    def removable(self, table: str) -> str | None:
        """The same without what a legal hold keeps."""
        found = self.condition(table)
        if found is not None and table == "aggregated_time_series":
            return f"({found}) and not getvariable('erased_series_held')"
        if found is None or table not in (*RAW, "feature_store"):
            return found
        held = _NOT_HELD if table in RAW else "and source_data_id not in (select source_data_id from erased_held)"
        return f"({found}) {held}"

    def bind_to(self, lake: Lake) -> None:
        """Let the conditions be used on a lake's connection."""
        dataset, _, event = self.value.partition("/")
        for text in statement("retention_pipelines.retention.erasure", "erasure_macros").split(";\n"):
            if text.strip():
                lake.con.execute(text)
        set_variables(
            lake.con,
            erased_value=self.value,
            erased_dataset=dataset,
            erased_event=event,
            erased_series_held=False,
            erased_pattern=self._pattern(r"[^\pL\pN_.-]" if self.is_identifier else r"[^\pL\pN_]"),
        )

    @property
    def is_identifier(self) -> bool:
        """Whether it is named by a sign that has dots and dashes of its own."""
        return self.kind in ("study", "dataset")

    @property
    def can_be_mentioned(self) -> bool:
        """Whether texts can be searched for it."""
        return len(self.value) >= _SHORTEST_MENTION

    def _pattern(self, boundary: str) -> str:
        return f"(^|{boundary}){''.join(map(_escaped, self.value))}({self._full_stop}(?:$|{boundary}))"

    @property
    def _full_stop(self) -> str:
        """Dots that end a sentence, where a name may go on after one."""
        return r"\.*" if self.is_identifier else ""

    @property
    def database_pattern(self) -> str:
        """Regular expression of Postgres for a text that mentions it, compared without regard to case."""
        boundary = "[^[:alnum:]_.-]" if self.is_identifier else "[^[:alnum:]_]"
        return f"(^|{boundary}){''.join(map(_escaped, self.value))}{self._full_stop}($|{boundary})"

    def mentioned_in(self, text: str) -> bool:
        """Whether a text mentions it, plainly or as JSON writes it."""
        before, after = (r"[\w.-]", r"\.*[\w-]") if self.is_identifier else (r"\w", r"\w")
        return any(
            re.search(rf"(?<!{before}){re.escape(form)}(?!{after})", text, re.IGNORECASE) is not None
            for form in {
                self.value,
                json.dumps(self.value)[1:-1],
                json.dumps(self.value, ensure_ascii=False)[1:-1],
                self.value.replace("'", "''"),
            }
        )


def without(node: Filter, told: Callable[[str], bool]) -> Filter | None:
    """A filter of what is kept, that names nothing that `told` says; it matches more or the same of all else.

    None: it matched nothing else.
    """
    match node:
        case Compare(operator="=", value=str(value)) if told(value):
            return None
        case Compare(value=str(value)) if told(value):
            return Everything()
        case In(field=name, values=values):
            rest = tuple(value for value in values if not (isinstance(value, str) and told(value)))
            return In(name, rest) if rest else None
        case Not(term=term):
            left = without(term, told)
            return Everything() if left is None or (left != term and not isinstance(term, In)) else Not(left)
        case And(terms=terms):
            kept = [without(term, told) for term in terms]
            whole = [one for one in kept if one is not None and not isinstance(one, Everything)]
            if None in kept:
                return None
            return And(tuple(whole)) if len(whole) > 1 else (whole[0] if whole else Everything())
        case Or(terms=terms):
            some = [one for term in terms if (one := without(term, told)) is not None]
            return Or(tuple(some)) if len(some) > 1 else (some[0] if some else None)
    return node


def _escaped(sign: str) -> str:
    """A sign for the regular expressions of DuckDB and Postgres; quotes as JSON, rows and filters write them, too."""
    if sign in '"\\':
        return r'[\\"]+'
    if sign == "'":
        return "'+"
    if sign in _CASES:
        return _CASES[sign]
    return sign if sign.isalnum() or sign in " _/" or not sign.isascii() else f"\\{sign}"
