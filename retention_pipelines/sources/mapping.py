"""Mappings: YAML that says what the columns of a delimited file are.

What belongs here: the model, its checks, and finding the mapping whose header signature a file has. What does not:
applying it (`delimited.py`). Every error names the offending key and what could stand there instead.
"""

import datetime
import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retention_pipelines.catalog import dataset
from retention_pipelines.catalog.raw import SOURCE_TYPES
from retention_pipelines.errors import MappingError
from retention_pipelines.sources.cf import QUANTITIES, quantity
from retention_pipelines.sources.units import is_known

# libyaml's safe loader reads the packaged mappings ten times as fast; not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
QC_GOOD = {"argo": ("1", "2", "5", "8"), "qartod": ("1",), "wod": ("0",)}
_NOT_MAPPED = {
    "record_hash", "dataset_id", "source_file", "source_sha256", "source_row", "ingested_at", "source_type",
    "event_start", "event_end", "date_precision", "source_timezone", "flags", "dynamic_properties", "month",
    "is_subtotal", "event_date",
    "variable", "standard_name", "value", "value_kind", "raw_value", "qc_flag", "raw_qc_flag", "qc_scale", "qc_good",
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signature(_Strict):
    """Header by which a file is known: all of `columns`, and with `exactly` no others."""

    columns: tuple[str, ...] = Field(min_length=1)
    exactly: bool = False

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a header is of this kind."""
        present = set(header)
        return set(self.columns) <= present and (not self.exactly or present == set(self.columns))


class Lookup(_Strict):
    """A file joined to the records: known by its header, `keys` maps record columns to its columns."""

    describes: str
    columns: tuple[str, ...] = Field(min_length=1)
    keys: dict[str, str] = Field(min_length=1)
    required: bool = True


class Source(_Strict):
    """Where a column comes from: a raw `column` (of a lookup: `haul.LATDD`), a `template` or a `constant`."""

    column: str | None = None
    template: str | None = None
    constant: str | float | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    values: dict[str, str] | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> "Source":
        if sum(origin is not None for origin in (self.column, self.template, self.constant)) != 1:
            raise ValueError("needs exactly one of column, template and constant")
        return self


class DateRule(_Strict):
    """How dates are written: ISO 8601 in a `column`, a `format` (strptime), `parts`, or a `decimal_year` column."""

    column: str | None = None
    format: str | None = None
    parts: dict[Literal["year", "month", "day", "time"], str] | None = None
    decimal_year: str | None = None
    timezone: str | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> "DateRule":
        if sum(origin is not None for origin in (self.column, self.parts, self.decimal_year)) != 1:
            raise ValueError("needs exactly one of column, parts and decimal_year")
        if self.parts is not None and "year" not in self.parts:
            raise ValueError("parts needs at least a year")
        return self

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            near = difflib.get_close_matches(value, sorted(available_timezones()), n=1, cutoff=0.4)
            raise ValueError(f"{value!r} is no time zone" + (f"; did you mean {near[0]!r}?" if near else ""))
        return value


class Quality(_Strict):
    """Column of quality flags, the name of its scale, and which flags are good (default: the scale's own)."""

    column: str
    scale: Literal["argo", "qartod", "wod"]
    good: tuple[str, ...] | None = None


class Variable(_Strict):
    """A wide column that holds a quantity."""

    column: str
    variable: str
    unit: str | None = None
    standard_name: str | None = None
    missing: tuple[str, ...] = ()
    qc: Quality | None = None

    @field_validator("variable")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if quantity(value) is None:
            names = [known.variable for known in QUANTITIES]
            near = difflib.get_close_matches(value, names, n=1, cutoff=0.3)
            raise ValueError(f"{value!r} is no variable" + (f"; did you mean {near[0]!r}?" if near else ""))
        return value


class Subtotal(_Strict):
    """Rows that sum up other rows: those whose `column` has one of `values`."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)


class Mapping(_Strict):
    """What the columns of one kind of delimited file are."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    title: str
    dataset_id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    target: Literal["occurrences", "observations"]
    source_type: str
    licence: str | None = None
    rights_holder: str | None = None
    citation: str | None = None
    notes: str | None = None
    recognise: Signature
    delimiter: str | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("", "NA", "NaN")
    lookups: dict[str, Lookup] = Field(default_factory=dict)
    date: DateRule
    columns: dict[str, Source]
    variables: tuple[Variable, ...] = ()
    subtotal: Subtotal | None = None
    flags: tuple[str, ...] = ()

    @field_validator("columns", mode="before")
    @classmethod
    def _bare_text_is_a_column(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: {"column": item} if isinstance(item, str) else item for key, item in value.items()}

    @field_validator("source_type")
    @classmethod
    def _is_a_source_type(cls, value: str) -> str:
        if value not in SOURCE_TYPES:
            raise ValueError(f"{value!r} is none of {', '.join(SOURCE_TYPES)}")
        return value

    @model_validator(mode="after")
    def _fits_the_catalog(self) -> "Mapping":
        allowed = [name for name in dataset(self.target).column_names if name not in _NOT_MAPPED]
        for name, source in self.columns.items():
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.3)
                raise ValueError(
                    f"columns.{name}: {self.target} has no such column"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
            if source.unit is not None and not is_known(source.unit):
                raise ValueError(f"columns.{name}.unit: {source.unit!r} is no known unit")
        for name in ("decimal_latitude", "decimal_longitude"):
            if name not in self.columns:
                raise ValueError(f"columns.{name} is missing: every record needs a position")
        if self.target == "observations" and not self.variables:
            raise ValueError("variables is missing: observations need at least one")
        for found in self.variables:
            named = quantity(found.variable)
            if named is not None and named.conversion(found.unit or named.unit) is None:
                raise ValueError(f"variables.{found.column}.unit: {found.unit!r} cannot be converted to {named.unit}")
        raw = set(self.recognise.columns) | {
            f"{key}.{name}" for key, one in self.lookups.items() for name in one.columns
        }
        for place, name in self._references():
            if self.recognise.exactly and name not in raw:
                near = difflib.get_close_matches(name, sorted(raw), n=1, cutoff=0.3)
                raise ValueError(
                    f"{place}: there is no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return self

    def _references(self) -> Iterator[tuple[str, str]]:
        for name, source in self.columns.items():
            if source.column is not None:
                yield f"columns.{name}", source.column
            for reference in template_columns(source.template or ""):
                yield f"columns.{name}.template", reference
        for variable in self.variables:
            yield f"variables.{variable.variable}", variable.column
            if variable.qc is not None:
                yield f"variables.{variable.variable}.qc", variable.qc.column
        if self.date.column is not None:
            yield "date.column", self.date.column
        if self.date.decimal_year is not None:
            yield "date.decimal_year", self.date.decimal_year
        for part, name in (self.date.parts or {}).items():
            yield f"date.parts.{part}", name
        if self.subtotal is not None:
            yield "subtotal.column", self.subtotal.column

    @property
    def references(self) -> set[str]:
        """Raw columns the mapping reads, lookups' as `lookup.COLUMN`."""
        return {name for _, name in self._references()}

    @property
    def digest(self) -> str:
        """Hash of what it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def template_columns(template: str) -> list[str]:
    """Names in braces of a template."""
    return [part.split("}", 1)[0] for part in template.split("{")[1:]]


def parse(text: str, place: str) -> Mapping:
    """A mapping from YAML text; raises MappingError that points at the offending key."""
    try:
        content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise MappingError(f"{place} is not YAML: {error}.") from error
    if not isinstance(content, dict):
        raise MappingError(f"{place} must hold keys and values.", hint="See `retention mappings show calcofi_bottle`.")
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        hint = None
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _keys(), n=1, cutoff=0.4)
            message = "unknown key"
            hint = f"Did you mean {near[0]!r}?" if near else "See docs/ingestion.md for the keys."
        elif first["type"] == "string_type" and isinstance(first["input"], bool | int | float | datetime.date):
            hint = "Put it in quotes: YAML reads no, yes, on, off, numbers and dates as something else than text."
        raise MappingError(f"{place}: {key + ': ' if key else ''}{message}.", hint=hint) from None


def _keys() -> list[str]:
    return sorted({name for model in (Mapping, Signature, Lookup, Source, DateRule, Quality, Variable, Subtotal)
                   for name in model.model_fields})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mappings:
    """The mappings of one call: `first`, if given, before the packaged ones."""

    known: tuple[Mapping, ...]
    first: Mapping | None = None

    @classmethod
    def packaged(cls, first: str | Mapping | None = None) -> "Mappings":
        """The packaged mappings, and one given by name, by path, or as it is."""
        folder = files("retention_pipelines.sources").joinpath("mappings")
        known = tuple(
            parse(entry.read_text(encoding="utf-8"), entry.name)
            for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
            if entry.name.endswith(".yaml")
        )
        if isinstance(first, str):
            first = cls(known=known)._open(first)
        return cls(known=known, first=first)

    @classmethod
    def text_of(cls, name: str) -> str:
        """The YAML of a packaged mapping; raises MappingError with the nearest name."""
        mapping = cls.packaged().named(name)
        folder = files("retention_pipelines.sources").joinpath("mappings")
        return folder.joinpath(f"{mapping.name}.yaml").read_text(encoding="utf-8")

    def _open(self, name: str) -> Mapping:
        if Path(name).is_file():
            return parse(Path(name).read_text(encoding="utf-8"), name)
        return self.named(name)

    def named(self, name: str) -> Mapping:
        """A packaged mapping; raises MappingError with the nearest name."""
        for mapping in (self.first, *self.known):
            if mapping is not None and mapping.name == name:
                return mapping
        near = difflib.get_close_matches(name, [mapping.name for mapping in self.known], n=1, cutoff=0.0)
        raise MappingError(
            f"{name!r} is neither a file nor a packaged mapping.",
            hint=f"Did you mean {near[0]!r}? `retention mappings list` names them all.",
        )

    def for_header(self, header: Sequence[str]) -> Mapping | None:
        """The mapping a header is known by; of several the one that names most columns."""
        if self.first is not None and self.first.recognise.fits(header):
            return self.first
        fitting = [mapping for mapping in self.known if mapping.recognise.fits(header)]
        return max(fitting, key=lambda mapping: len(mapping.recognise.columns), default=None)

    def lookup_for_header(self, header: Sequence[str]) -> tuple[Mapping, str] | None:
        """The mapping and the name of its lookup a header is known by."""
        for mapping in (self.first, *self.known):
            for name, lookup in (mapping.lookups if mapping is not None else {}).items():
                if mapping is not None and set(lookup.columns) <= set(header):
                    return mapping, name
        return None
