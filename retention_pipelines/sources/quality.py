"""Why a raw row cannot be used, and remarks that don't exclude it.

What belongs here: the reason codes of the quarantine and the flags, each with one sentence; the same list stands in
docs/naming.md and a test compares the two. What does not: the rules themselves (`check.sql`) and formats.
"""

#: Reasons for quarantine. A raw row has one: the first of this order that holds.
REASONS: dict[str, str] = {
    "unparseable_row": "The row has too many or too few columns, a broken quote or bytes that are not text.",
    "unmatched_join": "The station, haul or site the row names is not in the file that describes them.",
    "missing_position": "Latitude or longitude is empty or NaN.",
    "invalid_position": "Latitude or longitude is not a number, |latitude| > 90, or longitude is outside [-180, 360].",
    "zero_position": "Latitude and longitude are both 0.",
    "missing_date": "The date is empty.",
    "invalid_date": "The date is in no calendar, or in a form the format or mapping does not name.",
    "invalid_value": "A count, quantity or depth is not a number, or a count is negative.",
}

#: Remarks on accepted rows (the column `flags`).
FLAGS: dict[str, str] = {
    "DATE_IN_FUTURE": "The event starts after the file was ingested.",
    "LOCAL_TIME_SUSPECTED": "The source writes UTC, but its hours look like local time; kept as written.",
    "DEPTH_NEGATIVE": "A depth is above the sea surface.",
    "MIN_DEPTH_EXCEEDS_MAX": "The shallow end of the sampled depth is deeper than the deep end.",
    "DERIVED_EVENT_ID": "The source names no event; date and position make one.",
    "NO_NAME": "The record has no scientific name.",
    "INVALID_MEASUREMENT": "A measurement is not a number; it is kept in dynamic_properties.",
}
