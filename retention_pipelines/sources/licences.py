"""Licences by one name each.

What belongs here: names of Creative Commons licences out of URLs and sentences. What does not: whether a licence
allows a use. A text that names no known licence stays as it is, shortened only where it is a whole page.
"""

import re

_LONGEST = 500
_URL = re.compile(r"creativecommons\.org/licen[sc]es/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)", re.IGNORECASE)
_NAME = re.compile(r"\bCC[ -](BY(?:[ -]NC)?(?:[ -](?:ND|SA))?)[ -]?v?(\d\.\d)?", re.IGNORECASE)
_ZERO = re.compile(r"creativecommons\.org/publicdomain/zero|\bCC[ -]?0\b|\bCC[ -]Zero\b", re.IGNORECASE)


def licence_name(text: str | None) -> str | None:
    """`CC0-1.0`, `CC-BY-4.0`, `CC-BY-NC-4.0`, … where the text says so, else the text; None where it is blank."""
    if text is None or not text.strip():
        return None
    if _ZERO.search(text):
        return "CC0-1.0"
    match = _URL.search(text) or _NAME.search(text)
    if match:
        kind = re.sub(r"[ -]+", "-", match[1]).upper()
        return f"CC-{kind}-{match[2]}" if match[2] else f"CC-{kind}"
    return re.sub(r"\s+", " ", text).strip()[:_LONGEST]
