"""Columns of the staging table out of the raw columns of a delimited file, as a mapping says.

What belongs here: DuckDB expressions for texts, numbers, dates, measurements and reasons of one mapping. What does not:
reading the text and joining lookups (`delimited.py`), what a mapping may say (`mapping.py`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

import duckdb
from duckdb import (
    CaseExpression,
    CoalesceOperator,
    ColumnExpression,
    ConstantExpression,
    Expression,
    FunctionExpression,
)

from retention_pipelines.catalog import dataset
from retention_pipelines.errors import MappingError
from retention_pipelines.sources.cf import quantity
from retention_pipelines.sources.mapping import QC_GOOD, Mapping, Source, Variable, template_columns
from retention_pipelines.sources.staging import QC_SCALE, VALUE_KIND, closed_vocabulary, record_hash
from retention_pipelines.sources.text_table import TextTable
from retention_pipelines.sources.units import conversion

#: Type of a text that no row has.
_NOTHING = closed_vocabulary([""])
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _without_zeros(number: str) -> str:
    """A number without the zeros that end its decimals; the macro of this name does the same."""
    return re.sub(r"\.$", "", re.sub(r"(\.\d*?)0+$", r"\1", number))


class _Shared:
    """What several columns are made of, computed once per row: texts without missing words, and their numbers."""

    def __init__(self, present: set[str], mapping: Mapping) -> None:
        self._present = present
        self._missing = mapping.missing
        self._decimal = mapping.decimal
        self._texts: dict[str, tuple[str, Expression]] = {}
        self._numbers: dict[str, tuple[str, Expression]] = {}
        self._tests: dict[str, tuple[str, Expression]] = {}

    def text(self, name: str, missing: Sequence[str] = ()) -> Expression:
        """A raw column, null where it is blank or a word for missing; null where there is no such column."""
        if name not in self._present:
            return ConstantExpression(None).cast("VARCHAR")
        words = sorted({*self._missing, *missing, ""})
        trimmed = FunctionExpression("trimmed", ColumnExpression(name))
        kept = trimmed.isnotin(*(ConstantExpression(word) for word in words))
        # A number that stands for a missing one does so however many decimals a program wrote: -999.00 for -999.
        plain = sorted({_without_zeros(word) for word in words if _NUMBER.fullmatch(word)})
        if plain:
            short = FunctionExpression("without_zeros", trimmed)
            kept = kept & short.isnotin(*(ConstantExpression(word) for word in plain))
        return self._once(self._texts, "text", CaseExpression(kept, trimmed))

    def pointed(self, text: Expression) -> Expression:
        """A text with the decimal point that numbers have here; a point in a file of commas separates thousands."""
        if self._decimal == ".":
            return text
        return FunctionExpression("translate", text, ConstantExpression(",."), ConstantExpression(". "))

    def number(self, text: Expression) -> Expression:
        """A text as a number."""
        return self._once(self._numbers, "number", FunctionExpression("as_number", self.pointed(text)))

    def test(self, condition: Expression) -> Expression:
        """A condition over texts and numbers of this class."""
        return self._once(self._tests, "test", condition)

    @staticmethod
    def _once(known: dict[str, tuple[str, Expression]], kind: str, made: Expression) -> Expression:
        # Numbered, as names that differ by capitals only are one name to DuckDB.
        alias, _ = known.setdefault(str(made), (f"{kind}:{len(known)}", made))
        return ColumnExpression(alias)

    def under(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """The relation with the shared columns beside its own."""
        for made in (self._texts, self._numbers, self._tests):
            columns = [expression.alias(alias) for alias, expression in made.values()]
            relation = relation.select(duckdb.StarExpression(), *columns)
        return relation


def mapped(joined: duckdb.DuckDBPyRelation, mapping: Mapping, table: TextTable) -> duckdb.DuckDBPyRelation:
    """The staging columns of raw rows that are joined to their lookups; raises MappingError for an impossible unit."""
    shared = _Shared(set(joined.columns), mapping)
    cleaned = shared.text
    types = dataset(mapping.target).types
    fields: dict[str, Expression] = {
        "source_row": ColumnExpression("source_row"),
        "record_hash": _hash(mapping, table),
    }
    invalid: list[tuple[str, Expression]] = []
    for name, source in mapping.columns.items():
        text = _text_of(source, cleaned)
        if types[name] == "DOUBLE" and not name.startswith("decimal_"):
            number = shared.number(text)
            if source.column is not None:
                invalid.append((source.column, number.isnull() & text.isnotnull()))
            fields[name] = _converted(number, source, name)
        else:
            fields[name] = shared.pointed(text) if name.startswith("decimal_") else text
    fields |= _date_fields(mapping, shared)
    if mapping.target == "occurrences":
        fields |= _occurrence_fields(mapping, fields, cleaned)
    else:
        fields["measurements"] = _measurements(mapping, shared)
    fields |= _reason(mapping, joined, invalid)
    used = mapping.references | {left for rule in mapping.lookups.values() for left in rule.keys}
    rest = _json([name for name in table.columns if name not in used])
    broken = [_not_a_number(cleaned(rule.column, rule.missing), shared) for rule in mapping.variables]
    if broken:
        any_broken = shared.test(reduce(or_, broken))
        flag = ConstantExpression(["INVALID_MEASUREMENT"]).cast("VARCHAR[]")
        fields["flags"] = CaseExpression(any_broken, flag)
        measured = _json([rule.column for rule in mapping.variables if rule.column in table.columns])
        rest = CaseExpression(
            any_broken,
            FunctionExpression("json_merge_patch", measured, CoalesceOperator(rest, ConstantExpression("{}"))).cast(
                "VARCHAR"
            ),
        ).otherwise(rest)
    fields["dynamic_properties"] = rest
    return shared.under(joined).select(*(expression.alias(name) for name, expression in fields.items()))


def _not_a_number(text: Expression, shared: _Shared) -> Expression:
    return text.isnotnull() & shared.number(text).isnull()


def _json(columns: Sequence[str]) -> Expression:
    """JSON object of raw columns, null for none."""
    if not columns:
        return ConstantExpression(None).cast("VARCHAR")
    pairs = [part for name in columns for part in (ConstantExpression(name), ColumnExpression(name))]
    return FunctionExpression("json_object", *pairs).cast("VARCHAR")


def _hash(mapping: Mapping, table: TextTable) -> Expression:
    plain = record_hash(mapping.dataset_id, table.columns)
    broken = ColumnExpression("broken:detail")
    # What a broken row holds beyond its columns stands in the detail.
    return CaseExpression(broken.isnull(), plain).otherwise(
        FunctionExpression("md5", FunctionExpression("concat", plain, broken))
    )


def _text_of(source: Source, cleaned: Callable[..., Expression]) -> Expression:
    if source.constant is not None:
        return ConstantExpression(str(source.constant))
    if source.template is not None:
        parts: list[Expression] = []
        rest = source.template
        for name in template_columns(source.template):
            before, rest = rest.split("{" + name + "}", 1)
            parts += [ConstantExpression(before), CoalesceOperator(cleaned(name), ConstantExpression(""))]
        return FunctionExpression("concat", *parts, ConstantExpression(rest))
    text = cleaned(source.column or "", source.missing)
    if source.values is not None:
        mapped: Expression | None = None
        for raw, meaning in source.values.items():
            test, value = text == ConstantExpression(raw), ConstantExpression(meaning)
            mapped = CaseExpression(test, value) if mapped is None else mapped.when(test, value)
        return mapped if mapped is not None else text
    return text


_DEPTHS = {"depth_m", "bottom_depth_m", "minimum_depth_in_meters", "maximum_depth_in_meters"}


def _converted(number: Expression, source: Source, name: str) -> Expression:
    if source.unit is None:
        return number
    target = (
        "m"
        if name in _DEPTHS or name == "coordinate_uncertainty_in_meters"
        else "dbar"
        if name == "pressure_dbar"
        else source.unit
    )
    convert = conversion(source.unit, target)
    if convert is None:
        raise MappingError(f"columns.{name}.unit: {source.unit!r} cannot be converted to {target}.")
    if convert.is_identity:
        return number
    return number * ConstantExpression(convert.scale) + ConstantExpression(convert.offset)


def _date_fields(mapping: Mapping, shared: _Shared) -> dict[str, Expression]:
    rule, cleaned = mapping.date, shared.text
    if rule.decimal_year is not None:
        text = cleaned(rule.decimal_year)
        month = FunctionExpression("month_of_decimal_year", shared.pointed(text))
        return {"event_date": text, "iso_date": CoalesceOperator(month, text)}
    if rule.parts is not None:
        text = cleaned(rule.parts["year"])
        for part, width in (("month", 2), ("day", 2)):
            if part in rule.parts:
                value = FunctionExpression(
                    "lpad", cleaned(rule.parts[part]), ConstantExpression(width), ConstantExpression("0")
                )
                text = CoalesceOperator(FunctionExpression("concat_ws", ConstantExpression("-"), text, value), text)
        if "time" in rule.parts:
            text = FunctionExpression("concat_ws", ConstantExpression("T"), text, cleaned(rule.parts["time"]))
        return {"event_date": text}
    text = cleaned(rule.column or "")
    if rule.format is None and rule.timezone is None:
        return {"event_date": text}
    shape = rule.format or "%Y-%m-%dT%H:%M:%S"
    iso = (
        "%Y-%m-%dT%H:%M:%S"
        if "%S" in shape or "%T" in shape
        else "%Y-%m-%dT%H:%M"
        if "%H" in shape or "%I" in shape
        else "%Y-%m-%d"
        if "%d" in shape or "%j" in shape
        else "%Y-%m"
        if "%m" in shape or "%b" in shape
        else "%Y"
    )
    parsed = FunctionExpression("try_strptime", text, ConstantExpression(shape))
    fields = {"event_date": text}
    if rule.timezone is not None and "%H" in iso:
        utc = FunctionExpression(
            "timezone",
            ConstantExpression("UTC"),
            FunctionExpression("timezone", ConstantExpression(rule.timezone), parsed),
        )
        written = FunctionExpression("strftime", utc, ConstantExpression(iso))
        fields["source_timezone"] = ConstantExpression(rule.timezone)
    else:
        written = FunctionExpression("strftime", parsed, ConstantExpression(iso))
    # What the format does not fit stays as written: it is then an invalid date, not a missing one.
    fields["iso_date"] = CaseExpression(text.isnotnull(), CoalesceOperator(written, ConstantExpression("invalid")))
    return fields


def _occurrence_fields(
    mapping: Mapping, fields: dict[str, Expression], cleaned: Callable[..., Expression]
) -> dict[str, Expression]:
    zero = ConstantExpression(0.0)
    absent = ConstantExpression(False)
    for name in ("individual_count", "abundance", "density", "organism_quantity"):
        if name in fields:
            absent = absent | CoalesceOperator(fields[name] == zero, ConstantExpression(False))
    by_number = CaseExpression(absent, ConstantExpression("absent")).otherwise(ConstantExpression("present"))
    status = fields.get("occurrence_status")
    if status is not None:
        by_number = CaseExpression(absent, ConstantExpression("absent")).otherwise(
            CoalesceOperator(status, ConstantExpression("present"))
        )
    made = {"occurrence_status": by_number}
    if mapping.subtotal is not None:
        text = cleaned(mapping.subtotal.column)
        chosen = text.isin(*(ConstantExpression(value) for value in mapping.subtotal.values))
        made["is_subtotal"] = CoalesceOperator(chosen, ConstantExpression(False))
    return made


def _measurements(mapping: Mapping, shared: _Shared) -> Expression:
    """The list of measurements of a row, without those that have neither value nor flag."""
    found = [_measurement(rule, shared) for rule in mapping.variables]
    names = {
        "variable": closed_vocabulary(one.variable for one in found),
        "standard_name": closed_vocabulary(one.standard_name or "" for one in found),
    }
    whole = FunctionExpression("list_value", *(one.struct(**names) for one in found))
    # Mostly every one is there; leaving some out costs more than all the rest.
    complete = reduce(and_, (one.value.isnotnull() for one in found))
    return CaseExpression(shared.test(complete), whole).otherwise(FunctionExpression("present_measurements", whole))


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    """One variable of a mapping, as expressions over a row."""

    variable: str
    standard_name: str | None
    value: Expression
    flag: Expression
    good: Expression
    qc_scale: str

    def struct(self, *, variable: str, standard_name: str) -> Expression:
        """The element of `measurements`; given are the types of the names."""
        members = {
            "variable": ConstantExpression(self.variable).cast(variable),
            "standard_name": ConstantExpression(self.standard_name).cast(standard_name),
            "value": self.value,
            "value_kind": ConstantExpression("raw").cast(VALUE_KIND),
            "raw_value": ConstantExpression(None).cast("DOUBLE"),
            "qc_flag": self.flag,
            "raw_qc_flag": ConstantExpression(None).cast(_NOTHING),
            "qc_scale": ConstantExpression(self.qc_scale).cast(QC_SCALE),
            "qc_good": self.good,
        }
        return FunctionExpression("struct_pack", *(part.alias(name) for name, part in members.items()))


def _measurement(rule: Variable, shared: _Shared) -> _Measurement:
    named = quantity(rule.variable)
    convert = named.conversion(rule.unit or named.unit) if named is not None else None
    if named is None or convert is None:
        raise MappingError(f"variables.{rule.variable}: {rule.unit!r} is no unit of it.")
    value = shared.number(shared.text(rule.column, rule.missing))
    if not convert.is_identity:
        value = value * ConstantExpression(convert.scale) + ConstantExpression(convert.offset)
    names = named.standard_names or named.surface_names
    flag = shared.text(rule.qc.column) if rule.qc else ConstantExpression(None).cast(_NOTHING)
    good: Expression = ConstantExpression(True)
    if rule.qc is not None:
        flags = rule.qc.good or QC_GOOD[rule.qc.scale]
        good = CoalesceOperator(flag.isin(*(ConstantExpression(one) for one in flags)), ConstantExpression(False))
    return _Measurement(
        variable=rule.variable, standard_name=rule.standard_name or (names[0] if names else None), value=value,
        flag=flag, good=good, qc_scale=rule.qc.scale if rule.qc else "none",
    )  # fmt: skip


def _reason(
    mapping: Mapping, joined: duckdb.DuckDBPyRelation, invalid: Sequence[tuple[str, Expression]]
) -> dict[str, Expression]:
    broken = ColumnExpression("broken:detail")
    reason = CaseExpression(broken.isnotnull(), ConstantExpression("unparseable_row"))
    detail = CaseExpression(broken.isnotnull(), broken)
    for name, rule in mapping.lookups.items():
        if f"{name}:found" not in joined.columns:
            continue
        lost = ColumnExpression(f"{name}:found").isnull()
        keys = [part for left in rule.keys for part in (ConstantExpression(f" {left}="), ColumnExpression(left))]
        reason = reason.when(lost, ConstantExpression("unmatched_join"))
        detail = detail.when(lost, FunctionExpression("concat", ConstantExpression(f"no {name} for"), *keys))
    for column, test in invalid:
        reason = reason.when(test, ConstantExpression("invalid_value"))
        detail = detail.when(
            test,
            FunctionExpression(
                "concat", ConstantExpression(f"{column} is '"), ColumnExpression(column), ConstantExpression("'")
            ),
        )
    return {"reason": reason, "detail": detail}
