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
    "erased": "An order erased what the row is about; nothing of it is kept but its place in the file.",
}

#: Remarks on accepted rows (the column `flags`).
FLAGS: dict[str, str] = {
    "DATE_IN_FUTURE": "The event starts after the file was ingested.",
    "LOCAL_TIME_SUSPECTED": "The source writes UTC, but its hours look like local time; kept as written.",
    "MONTH_BY_SPACING": "The times are mid-month and a month apart: the value stands for the month.",
    "MODEL_CALENDAR": "The times are of a calendar without 29 February (noleap, 365_day); its dates are all real.",
    "DERIVED_EVENT_ID": "The source names no event; date and position make one.",
    "EVENT_ID_NOT_UNIQUE": "Several events have this eventID; the first is used.",
    "EVENT_WITHOUT_OCCURRENCES": "The event is published without a record of a taxon.",
    "NO_DEPTH": "The record states no depth.",
    "MIN_DEPTH_EXCEEDS_MAX": "The shallow end of the sampled depth is deeper than the deep end.",
    "DEPTH_OUT_OF_RANGE": "A depth is below 11,000 m or more than 100,000 m above the sea surface.",
    "UNCERTAINTY_OUT_OF_RANGE": "The radius of the position is negative or above 10,000 km.",
    "STATUS_CONTRADICTS_COUNT": "The record says present with a count of 0, or absent with a count.",
    "INVALID_MEASUREMENT": "A measurement is not a number; the text stands in dynamic_properties.",
    "UNIT_NOT_READ": "The file has a column whose unit is not known; it is not used.",
    "POTENTIAL_TEMPERATURE": "The temperature is a potential one, stored as temperature because the file has no other; "
    "it is the lower one, by some 0.1 degrees at 1000 m.",
    "MISSPELT_TERM": "A Darwin Core term is misspelt in the header and was read as the term it is nearest to.",
}
