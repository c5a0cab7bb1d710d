"""From text to tree; every error points at the character and says what would do.

    filter  := "everything" | either
    either  := both ("or" both)*
    both    := term ("and" term)*
    term    := "not" term | "(" either ")" | field test
    test    := ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
             | ["not"] "in" "(" literal ("," literal)* ")"
             | "is" ("unknown" | "known")
    literal := 'text' | number | true | false | 'instant with a zone, ISO 8601'

Which fields there are, and of which kind, the caller says. Words are in lower case.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from retention_pipelines.errors import FilterError
from retention_pipelines.retention.filter.ast import (
    ORDERED,
    And,
    Compare,
    Everything,
    Filter,
    In,
    Kind,
    Literals,
    Not,
    Operator,
    Or,
    Unknown,
    depth,
    nodes,
)

MAX_DEPTH = 8
MAX_NODES = 50
MAX_LENGTH = 4_000
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<word>[a-z_][a-z0-9_]*)|(?P<sign><=|>=|!=|=|<|>|\(|\)|,))",
    re.ASCII,
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "unknown", "known", "everything", "true", "false"})
_OPERATORS: dict[str, Operator] = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str, fields: Mapping[str, Kind]) -> Filter:
    """The tree of a filter over these fields; raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"A filter has at most {MAX_LENGTH} characters; this one has {len(text)}.")
    parser = _Parser(text, fields)
    tree = parser.whole()
    if nodes(tree) > MAX_NODES:
        raise FilterError(f"A filter has at most {MAX_NODES} parts; this one has {nodes(tree)}.")
    if depth(tree) > MAX_DEPTH:
        raise FilterError(f"A filter is nested at most {MAX_DEPTH} deep; this one is {depth(tree)} deep.")
    return tree


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Kind]) -> None:
        self._text = text
        self._fields = fields
        self._tokens = self._split()
        self._next = 0
        self._open = 0

    def whole(self) -> Filter:
        if self._peek().text == "everything" and self._peek().kind == "word":
            self._take()
            tree: Filter = Everything()
        else:
            tree = self._either()
        if self._peek().kind != "end":
            raise self._error(self._peek(), "and, or, or the end")
        return tree

    def _either(self) -> Filter:
        terms = [self._both()]
        while self._word("or"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _both(self) -> Filter:
        terms = [self._term()]
        while self._word("and"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _term(self) -> Filter:
        # Before it descends: a text of a thousand brackets must not exhaust the stack.
        self._open += 1
        if self._open > 4 * MAX_DEPTH:
            raise self._error(self._peek(), f"at most {MAX_DEPTH} levels")
        try:
            if self._word("not"):
                return Not(self._term())
            if self._sign("("):
                inner = self._either()
                self._expect(")")
                return inner
            return self._test()
        finally:
            self._open -= 1

    def _test(self) -> Filter:
        token = self._take()
        if token.kind != "word" or token.text in _WORDS:
            raise self._error(token, "a field, not or (")
        if token.text not in self._fields:
            near = difflib.get_close_matches(token.text, self._fields, n=1, cutoff=0.5)
            raise self._error(
                token, f"{near[0]}" if near else f"one of {', '.join(sorted(self._fields))}", "is not a field here"
            )
        field, kind = token.text, self._fields[token.text]
        if self._word("is"):
            if self._word("unknown"):
                return Unknown(field)
            if self._word("known"):
                return Not(Unknown(field))
            raise self._error(self._peek(), "unknown or known")
        if self._word("not"):
            if not self._word("in"):
                raise self._error(self._peek(), "in")
            return Not(self._among(field, kind))
        if self._word("in"):
            return self._among(field, kind)
        sign = self._take()
        if sign.text not in _OPERATORS or sign.kind != "sign":
            raise self._error(sign, "=, !=, <, <=, >, >=, in or is")
        operator = _OPERATORS[sign.text]
        if operator in ORDERED and kind in (Kind.TEXT, Kind.BOOLEAN):
            raise self._error(sign, "=, != or in", f"does not order a {kind} field")
        return Compare(field, operator, self._literal(field, kind))

    def _among(self, field: str, kind: Kind) -> In:
        self._expect("(")
        values = [self._literal(field, kind)]
        while self._sign(","):
            values.append(self._literal(field, kind))
        self._expect(")")
        return In(field, tuple(values))

    def _literal(self, field: str, kind: Kind) -> Literals:
        token = self._take()
        match kind:
            case Kind.NUMBER if token.kind == "number":
                number = float(token.text)
                if not math.isfinite(number):
                    raise self._error(token, "a finite number")
                return number
            case Kind.BOOLEAN if token.kind == "word" and token.text in ("true", "false"):
                return token.text == "true"
            case Kind.TEXT if token.kind == "text":
                return token.text[1:-1].replace("''", "'")
            case Kind.INSTANT if token.kind == "text":
                return self._instant(token)
        expected = {
            Kind.NUMBER: "a number",
            Kind.BOOLEAN: "true or false",
            Kind.TEXT: "a text in single quotes",
            Kind.INSTANT: "an instant such as '2026-01-01T00:00:00Z'",
        }
        raise self._error(token, expected[kind], f"cannot be compared with {field}")

    def _instant(self, token: _Token) -> datetime:
        try:
            instant = datetime.fromisoformat(token.text[1:-1])
        except ValueError:
            raise self._error(token, "an instant such as '2026-01-01T00:00:00Z'") from None
        if instant.tzinfo is None:
            raise self._error(token, "an instant with a zone, such as '2026-01-01T00:00:00Z'")
        try:
            return instant.astimezone(UTC)
        except OverflowError:
            raise self._error(token, "an instant between the years 1 and 9999") from None

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                token = _Token("strange", self._text[at : at + 1], at)
                if token.text == "'":
                    raise self._error(token, "a closing quote", "opens a text that does not end")
                raise self._error(token, "a field, a number, a 'text' or a sign")
            if "\x00" in found[found.lastgroup]:
                # Postgres cannot hold it in a text, so no row can have it.
                raise self._error(_Token("text", "a zero byte", found.start(found.lastgroup)), "a text without it")
            tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def _word(self, word: str) -> bool:
        return self._one("word", word)

    def _sign(self, sign: str) -> bool:
        return self._one("sign", sign)

    def _one(self, kind: str, text: str) -> bool:
        token = self._peek()
        if token.kind == kind and token.text == text:
            self._next += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            raise self._error(self._peek(), sign)

    def _error(self, token: _Token, expected: str, problem: str = "is out of place") -> FilterError:
        what = "The end" if token.kind == "end" else f"{token.text!r}" if token.kind != "text" else token.text
        line = self._text.replace("\n", " ").replace("\t", " ")
        return FilterError(
            f"{what} {problem} at character {token.at + 1} of the filter.\n  {line}\n  {' ' * token.at}^",
            hint=f"Expected {expected}.",
            at=token.at,
        )
