"""The tidy raw datasets: what the sources write."""

from retention_pipelines.catalog.dataset import (
    Column,
    ColumnType,
    Dataset,
    Layer,
    count,
    double,
    flag,
    instant,
    text,
)

PRECISIONS = ("year", "month", "day", "time", "interval")
SOURCE_TYPES = ("survey", "cast", "float", "buoy", "coastal_station", "grid", "other")

# Provenance of one raw row; the same in every raw dataset.
_ROW = (
    text("record_hash", "Hash of the raw row, every column as text; one raw row has one hash.", required=True),
    text("dataset_id", "Dataset the row belongs to: letters, digits, `_`, `.`, `-`.", required=True),
    text("source_file", "Name of the raw file as delivered.", required=True),
    text("source_sha256", "SHA-256 of the raw file.", required=True),
    count("source_row", "1-based number of the raw row among the file's data rows.", minimum=1),
    instant("ingested_at", "When the file was ingested.", required=True),
)
_WHEN = (
    text("event_id", "Sampling event: eventID, haul, cast, profile, or derived by the source's rule.", required=True),
    text("event_date", "Date or interval as the source wrote it.", required=True),
    instant("event_start", "Start of the event's interval, UTC.", required=True),
    instant("event_end", "End (exclusive) of the interval the written precision allows, UTC.", required=True),
    Column(
        name="date_precision",
        type=ColumnType.TEXT,
        description="Precision the source wrote: year, month, day, time, or an interval.",
        required=True,
        allowed=PRECISIONS,
    ),
    text("source_timezone", "Zone the source wrote: Z, an offset, a zone name, or null where it wrote none."),
)
_WHERE = (
    double("decimal_latitude", "Latitude, WGS84.", "degree_north", required=True, minimum=-90, maximum=90),
    double(
        "decimal_longitude",
        "Longitude, WGS84, folded to [-180, 180).",
        "degree_east",
        required=True,
        minimum=-180,
        maximum=180,
    ),
)
_RIGHTS = (
    text("licence", "Licence of the record (dcterms:license)."),
    text("rights_holder", "Who holds the rights."),
    text("bibliographic_citation", "How to cite the source."),
    Column(
        name="flags",
        type=ColumnType.TEXTS,
        description="Remarks that do not exclude the row, for example NO_DEPTH or LOCAL_TIME_SUSPECTED.",
    ),
    text("dynamic_properties", "JSON object of the raw columns that have no column here."),
    text(
        "month", "Partition: `YYYY-MM` of event_start. A storage place, not a date: see date_precision.", required=True
    ),
)

OCCURRENCES = Dataset(
    name="occurrences",
    layer=Layer.RAW,
    description="Species records: presences, absences and subtotals, as delivered, with Darwin Core terms.",
    grain="one row per accepted raw record of a taxon at an event",
    columns=(
        *_ROW,
        text("source_type", "Kind of platform.", required=True, allowed=SOURCE_TYPES),
        text("occurrence_id", "occurrenceID of the source, or null."),
        *_WHEN,
        *_WHERE,
        double("coordinate_uncertainty_in_meters", "Radius that holds the position.", "m", minimum=0),
        double("minimum_depth_in_meters", "Shallow end of the sampled depth, positive down.", "m"),
        double("maximum_depth_in_meters", "Deep end of the sampled depth, positive down.", "m"),
        double("bottom_depth_m", "Depth of the sea floor, positive down.", "m"),
        text("scientific_name", "Scientific name as published, stripped."),
        text("scientific_name_id", "Identifier of the name, usually a WoRMS LSID."),
        text("vernacular_name", "Common name."),
        text("taxon_rank", "Rank of the name."),
        text("kingdom", "Kingdom."),
        text("phylum", "Phylum."),
        text("class", "Class."),
        text("order", "Order."),
        text("family", "Family."),
        text("genus", "Genus."),
        text("life_stage", "Life stage as the source wrote it."),
        text("sex", "Sex as the source wrote it."),
        double("individual_count", "Number of individuals.", "1", minimum=0),
        double("organism_quantity", "Quantity as published."),
        text("organism_quantity_type", "What organism_quantity counts, with its unit."),
        double("abundance", "Count that may be summed over records: what the source mapping calls an abundance.", "1"),
        double("density", "Number per area or volume; never summed as a count."),
        text("density_unit", "Unit of density."),
        text(
            "occurrence_status",
            "present, or absent: an absence is data and never a presence.",
            required=True,
            allowed=("present", "absent"),
        ),
        flag("is_subtotal", "The row sums up other rows; it counts in no statistic.", required=True),
        text("basis_of_record", "basisOfRecord of the source."),
        text("sampling_protocol", "Gear or method."),
        text("locality", "Place name."),
        text("country_code", "ISO country code."),
        *_RIGHTS,
    ),
    key=("record_hash",),
    partition_by=("month",),
    order=("dataset_id", "event_start", "event_id"),
    event_time="event_start",
)

OBSERVATIONS = Dataset(
    name="observations",
    layer=Layer.RAW,
    description="Ocean measurements in long form: one value of one CF quantity, with its quality flag.",
    grain="one row per accepted raw record and variable that has a published value or flag",
    columns=(
        *_ROW,
        text("source_type", "Kind of platform.", required=True, allowed=SOURCE_TYPES),
        text("platform_id", "Float, station, buoy or site, as the source names it."),
        *_WHEN,
        *_WHERE,
        double("depth_m", "Depth, positive down; from pressure by TEOS-10 where the source gives pressure.", "m"),
        double("pressure_dbar", "Sea pressure as published.", "dbar"),
        double("bottom_depth_m", "Depth of the sea floor, positive down.", "m"),
        text("variable", "Quantity with its unit as suffix, for example temperature_degc.", required=True),
        text("standard_name", "CF standard name of the quantity."),
        double("value", "Value in the variable's unit; null where the source has a flag but no usable value."),
        text("value_kind", "raw or adjusted.", required=True, allowed=("raw", "adjusted")),
        double("raw_value", "Unadjusted value, where `value` is adjusted."),
        text("qc_flag", "Quality flag of `value` as the source gave it."),
        text("raw_qc_flag", "Quality flag of raw_value."),
        text("qc_scale", "Scale of the flags.", required=True, allowed=("argo", "qartod", "wod", "none")),
        flag("qc_good", "Enters statistics: flag in the scale's good set, or the source has no flags.", required=True),
        *_RIGHTS,
    ),
    key=("record_hash", "variable"),
    partition_by=("month",),
    order=("dataset_id", "variable", "event_start"),
    event_time="event_start",
)

QUARANTINE = Dataset(
    name="quarantine",
    layer=Layer.RAW,
    description="Raw rows that cannot be used, with the reason; nothing is dropped silently.",
    grain="one row per quarantined raw record",
    columns=(
        *_ROW,
        text("reason", "Why, as a code: invalid_position, missing_date, invalid_date, ...", required=True),
        text("detail", "Why, as a sentence with the offending value.", required=True),
        text("raw_record", "JSON object of the raw row, every column as text.", required=True),
    ),
    key=("record_hash", "source_sha256", "source_row"),
    partition_by=("dataset_id",),
    order=("source_file", "source_row"),
)

INGESTED_FILES = Dataset(
    name="ingested_files",
    layer=Layer.RAW,
    description="Every delivered file, with counts that add up: read = accepted + quarantined + duplicates.",
    grain="one row per delivery of a file",
    columns=(
        text("path", "Path as delivered.", required=True),
        text("sha256", "SHA-256 of the content.", required=True),
        count("bytes", "Size of the file."),
        text("format", "Format it was read as, null when refused unread."),
        text("mapping", "Name of the mapping used, null for self-describing formats."),
        text("dataset_id", "Dataset the rows went to."),
        text("role", "records, lookup (joined to records) or metadata.", required=True),
        text("status", "ingested, duplicate (this content came before) or refused.", required=True),
        count("read", "Data rows in the file."),
        count("accepted", "Rows that became occurrences or observations; of a lookup, all that can be joined."),
        count("quarantined", "Rows put into quarantine."),
        count("duplicates", "Exact duplicates of earlier rows."),
        count("values", "Rows written to occurrences or observations; a raw row may hold several values or none."),
        text("reasons", "JSON object: quarantined rows by reason.", required=True),
        text("licence", "Licence of the file's records."),
        text("bibliographic_citation", "How to cite the source."),
        text("notes", "What of the file is not used and why, in sentences: columns, rows of a lookup nobody names."),
        text("error", "Why the file was refused."),
        text(
            "fingerprint",
            "What was read and how, what it looked like unread, which delivery it is, whose rows its duplicates equal.",
        ),
        instant("ingested_at", "When.", required=True),
    ),
    key=("sha256", "path", "ingested_at"),
)
