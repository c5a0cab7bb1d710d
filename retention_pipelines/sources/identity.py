"""Names of data sets: a `dataset_id` from what a file says about itself.

What belongs here: making a legal id from titles, URLs and file names. What does not: which of them a format has.
The id must be the same for every delivery of a data set, so a file's name is the last resort and its dates are cut.
"""

import re
import unicodedata
from collections.abc import Iterable

_LONGEST = 80
# `_2017`, `-20170801`, `.2017-08-01T120000Z`, ERDDAP's download suffix `_1a2b_3c4d_5e6f_U1700000000000`.
_DOWNLOAD = re.compile(r"(_[0-9a-f]{4}){2,3}(_U\d+)?$|_U\d{10,}$")
_DATES = re.compile(r"([._-]?(19|20)\d{2}([._-]?(0[1-9]|1[0-2])([._-]?([0-2]\d|3[01])(T?\d{4,6}Z?)?)?)?)+(?=$|[._-])")
_ENDINGS = re.compile(r"\.(gz|zip|nc|nc4|cdf|csv|csvp|tsv|txt)$", re.IGNORECASE)


def slug(text: str) -> str:
    """Letters, digits, `_`, `.` and `-` only, at most 80 characters; empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain)[:_LONGEST].strip("_.-")


def from_file_name(name: str) -> str:
    """Id from a file name without its ending, ERDDAP's download suffix and dates."""
    stem = name
    while (shorter := _ENDINGS.sub("", stem)) != stem:
        stem = shorter
    return slug(_DATES.sub("", _DOWNLOAD.sub("", stem))) or slug(stem) or "unnamed"


def from_package(identifier: str) -> str:
    """Id from an EML packageId or a resource URL: the last telling part, without the version.

    Examples:
        `https://ipt.obis.org/secretariat/resource?id=banc-darguin-ccmar-2023/v1.0` -> `banc-darguin-ccmar-2023`
    """
    text = re.sub(r"/?[._]?v\d+(\.\d+)*/?$", "", identifier.strip())
    query = re.search(r"[?&](?:r|id|resource)=([^&#]+)", text)
    return slug(query[1] if query else text.rstrip("/").rsplit("/", 1)[-1])


def first(candidates: Iterable[str | None]) -> str | None:
    """The first candidate that is not blank."""
    return next((text.strip() for text in candidates if text and text.strip()), None)
