"""A mapping drafted for a header nobody knows: what its names suggest, for a person to edit, never used as it is."""

import re

from retention_pipelines.sources.cf import Reading, read_as
from retention_pipelines.sources.identity import from_file_name
from retention_pipelines.sources.staging import RawFile
from retention_pipelines.sources.text_table import header

_LIKELY = {
    "decimal_latitude": ("decimallatitude", "latitude", "lat", "latdd", "latdec", "y"),
    "decimal_longitude": ("decimallongitude", "longitude", "lon", "long", "londd", "londec", "x"),
    "date": ("eventdate", "date", "time", "datetime", "timestamp", "dateutc", "timeutc", "sampledate"),
    "event_id": ("eventid", "castid", "cast", "station", "haul", "haulno", "sample", "sampleid", "event"),
    "depth_m": ("depthm", "depth", "z"),
    "scientific_name": ("scientificname", "species", "taxon", "sciname", "name"),
    "individual_count": ("individualcount", "count", "totalno", "number", "n", "abundance"),
}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def draft(file: RawFile) -> str | None:
    """YAML of a draft; None where the file has no header of several columns."""
    text = file.text_head
    found = header(text) if text is not None else None
    if found is None or not any(re.search(r"[A-Za-z]", name) for name in found[0]):
        return None
    names, delimiter = found
    by_key = {_key(name): name for name in reversed(names)}
    guess = {target: next((by_key[key] for key in keys if key in by_key), None) for target, keys in _LIKELY.items()}
    taken = {name for name in guess.values() if name}
    variables = []
    for name in names:
        bare, _, unit = re.sub(r"[\[\]()]", "|", name).partition("|")
        if name in taken:
            continue
        reading = read_as(bare.strip(), unit=unit.strip("| ") or None)
        if reading is not None:
            variables.append((name, reading if isinstance(reading, Reading) else None))
    target = "occurrences" if guess["scientific_name"] else "observations"
    stem = from_file_name(file.name)
    lines = [
        f"# Drafted from the header of {file.name}. Look at every line marked EDIT: names are only suggestions.",
        f"name: {stem}",
        f"title: {_quoted(f'EDIT: what {file.name} is')}",
        f"dataset_id: {stem}",
        f"target: {target}  # occurrences or observations",
        "source_type: other  # EDIT: survey, cast, float, buoy, coastal_station, grid or other",
        'licence: "EDIT"',
        'citation: "EDIT"',
        "recognise:",
        f"  columns: [{', '.join(_quoted(name) for name in names)}]",
    ]
    if delimiter != ",":
        lines.append(f'delimiter: "{delimiter}"' if delimiter != "\t" else 'delimiter: "\\t"')
    lines += [
        'missing: ["", "NA", "NaN"]  # EDIT: what stands for no value; per column: {column: x, missing: ["-999"]}',
        "date:",
        f"  column: {_quoted(guess['date'] or 'EDIT')}  # or decimal_year: x, or parts: {{year: y, month: m, day: d}}",
        "columns:",
        f"  decimal_latitude: {_quoted(guess['decimal_latitude'] or 'EDIT')}",
        f"  decimal_longitude: {_quoted(guess['decimal_longitude'] or 'EDIT')}",
        f"  event_id: {_quoted(guess['event_id'])}"
        if guess["event_id"]
        else '  # event_id: {template: "{cruise}:{haul}"}',
    ]
    if target == "occurrences":
        lines.append(f"  scientific_name: {_quoted(guess['scientific_name'] or 'EDIT')}")
        count = guess["individual_count"]
        if count:
            lines += [
                f"  individual_count: {_quoted(count)}  # EDIT: only if it counts animals",
                f"  abundance: {_quoted(count)}  # EDIT: a number per area or volume is `density` with `density_unit`",
            ]
    else:
        if guess["depth_m"]:
            lines.append(f"  depth_m: {{column: {_quoted(guess['depth_m'])}, unit: m}}  # EDIT: positive down?")
        lines.append("variables:")
        lines += [
            f"  - {{column: {_quoted(name)}, variable: {reading.variable}, unit: {_quoted(reading.quantity.unit)}}}"
            "  # EDIT: unit"
            if reading
            else f"  # - {{column: {_quoted(name)}, variable: EDIT, unit: EDIT}}  # which unit does it have?"
            for name, reading in variables
        ] or ["  - {column: EDIT, variable: EDIT, unit: EDIT}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str | None) -> str:
    return '"' + (text or "").replace("\\", "\\\\").replace('"', '\\"') + '"'
