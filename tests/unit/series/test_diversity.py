import math
import tempfile
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.series.oracle import cell, labels
from tests.unit.series.raw_rows import record, rows_of, utc

NAME = "biodiversity_statistics"
KEY = ("dataset_id", "basis", "location_grid", "time_window", "window_label")


def taken(name: str | None, abundance: float | None = None, **more: Any) -> dict[str, Any]:
    start = more.pop("start", utc("2017-08-14T10:00:00"))
    return {"event_start": start, "scientific_name": name, "abundance": abundance, **more}


def only(lake: Lake, basis: str, window: str = "monthly") -> dict[str, Any]:
    rows = [row for row in rows_of(lake, NAME) if row["basis"] == basis and row["time_window"] == window]
    assert len(rows) == 1, rows
    return rows[0]


def indices(counts: dict[str, float]) -> dict[str, float | str | int | None]:
    """The definitions, written a second time."""
    total = math.fsum(counts.values())
    shares = [count / total for count in counts.values()]
    shannon = -math.fsum(share * math.log(share) for share in shares)
    simpson = math.fsum(share**2 for share in shares)
    most = max(counts.values())
    return {
        "total": total,
        "richness": len(counts),
        "shannon": shannon,
        "simpson_d": simpson,
        "gini_simpson": 1 - simpson,
        "inverse_simpson": 1 / simpson,
        "pielou": shannon / math.log(len(counts)) if len(counts) > 1 else None,
        "dominant_taxon": min(name for name, count in counts.items() if count == most),
        "dominant_share": most / total,
    }


def close(row: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if isinstance(value, float):
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        else:
            assert row[name] == value, name


def test_both_flavours_are_computed_and_kept_apart(lake: Lake) -> None:
    record(lake, [taken("A", 30.0), taken("A", 10.0), taken("B", 60.0), taken("C", None)])
    update_biodiversity(lake)
    close(only(lake, "records"), indices({"A": 2, "B": 1, "C": 1}) | {"n_records": 4, "total": 4.0})
    close(only(lake, "abundance"), indices({"A": 40, "B": 60}) | {"n_records": 3, "total": 100.0})


def test_absences_subtotals_and_nameless_rows_count_nowhere(lake: Lake) -> None:
    record(
        lake,
        [
            taken("A", 5.0),
            taken("B", 7.0, occurrence_status="absent"),
            taken("C", 9.0, is_subtotal=True),
            taken(None, 11.0),
            taken("  ", 11.0),
        ],
    )
    update_biodiversity(lake)
    for basis, total in (("records", 1.0), ("abundance", 5.0)):
        close(only(lake, basis), {"richness": 1, "total": total, "n_records": 1, "dominant_taxon": "A"})


def test_a_taxon_of_abundance_zero_is_no_taxon_of_the_abundance_basis(lake: Lake) -> None:
    record(lake, [taken("A", 5.0), taken("B", 0.0)])
    update_biodiversity(lake)
    assert only(lake, "abundance")["richness"] == 1
    assert only(lake, "records")["richness"] == 2


def test_without_abundance_there_is_no_abundance_row(lake: Lake) -> None:
    record(lake, [taken("A", None, density=12.5, density_unit="larvae per 10 m2")])
    update_biodiversity(lake)
    assert {row["basis"] for row in rows_of(lake, NAME)} == {"records"}


def test_one_taxon_has_no_evenness_and_a_shannon_of_zero(lake: Lake) -> None:
    record(lake, [taken("A", 3.0)])
    update_biodiversity(lake)
    row = only(lake, "abundance")
    close(row, {"shannon": 0.0, "simpson_d": 1.0, "gini_simpson": 0.0, "inverse_simpson": 1.0, "pielou": None})
    assert math.copysign(1, row["shannon"]) == 1


def test_names_are_stripped_and_otherwise_left_as_published(lake: Lake) -> None:
    record(lake, [taken(f"{blank}Sebastes spp.{blank}") for blank in ("", " ", "\t", "\r\n", " \xa0")])
    record(lake, [taken("sebastes spp."), taken("\t")])
    update_biodiversity(lake)
    assert only(lake, "records")["richness"] == 2


def test_the_first_name_dominates_on_a_tie(lake: Lake) -> None:
    record(lake, [taken("Zeus faber", 2.0), taken("Aurelia", 2.0), taken("Mola mola", 1.0)])
    update_biodiversity(lake)
    assert only(lake, "abundance")["dominant_taxon"] == "Aurelia"
    assert only(lake, "records")["dominant_taxon"] == "Aurelia"


def test_a_year_enters_no_window_and_a_month_enters_month_and_season(lake: Lake) -> None:
    record(
        lake,
        [
            taken("A", start=utc("1971-01-01T00:00:00"), event_end=utc("1972-01-01T00:00:00")),
            taken("B", start=utc("1972-02-01T00:00:00"), event_end=utc("1972-03-01T00:00:00")),
        ],
    )
    update_biodiversity(lake)
    assert {row["window_label"] for row in rows_of(lake, NAME)} == {"1972-02", "1972-DJF"}


def test_another_cell_size_recomputes_every_row(settings: Settings) -> None:
    with Lake(settings) as lake:
        record(lake, [taken("A"), taken("A", start=utc("2016-08-14T10:00:00"))])
        update_biodiversity(lake)
    with Lake(settings.model_copy(update={"cell_deg": 5.0})) as lake:
        update_biodiversity(lake, months=["2017-08"])
        rows = rows_of(lake, NAME)
        assert {(row["cell_deg"], row["location_grid"]) for row in rows} == {(5.0, "-15.0_10.0")}
        assert {"2016-08", "2017-08"} <= {row["window_label"] for row in rows}


@st.composite
def occurrence(draw: st.DrawFn) -> dict[str, Any]:
    start = utc("2016-12-15T00:00:00") + timedelta(days=draw(st.integers(0, 60)))
    return {
        "event_start": start,
        "event_end": start + timedelta(days=draw(st.sampled_from([1, 1, 1, 4]))),
        "dataset_id": draw(st.sampled_from(["a", "b"])),
        "decimal_latitude": draw(st.sampled_from([-0.1, 0.0])),
        "decimal_longitude": draw(st.sampled_from([-180.0, 179.9])),
        "scientific_name": draw(st.sampled_from(["A", "B", "C ", "D", None])),
        "abundance": draw(st.none() | st.sampled_from([0.0, 1.0, 0.5, 1e6, 1e-3])),
        "occurrence_status": draw(st.sampled_from(["present", "present", "absent"])),
        "is_subtotal": draw(st.sampled_from([False, False, False, True])),
    }


def expected_rows(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    counts: dict[tuple[str, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    records: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        name = (row["scientific_name"] or "").strip()
        if not name or row["occurrence_status"] != "present" or row["is_subtotal"]:
            continue
        place = cell(row["decimal_latitude"], row["decimal_longitude"], 0.25)
        for window, label in labels(row["event_start"], row["event_end"]).items():
            for basis, amount in (("records", 1.0), ("abundance", row["abundance"] or 0.0)):
                if amount > 0:
                    key = (row["dataset_id"], basis, place, window, label)
                    counts[key][name] += amount
                    records[key] += 1
    return {key: indices(taxa) | {"n_records": records[key]} for key, taxa in counts.items()}


@examples(max_examples=12, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(occurrence(), max_size=30), min_size=1, max_size=3))
def test_any_order_of_late_batches_ends_in_what_the_definitions_say(batches: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as root, Lake(load_settings({}, lake_root=root)) as lake:
        for batch in batches:
            record(lake, batch)
            update_biodiversity(lake, months={f"{row['event_start']:%Y-%m}" for row in batch})
        found = {tuple(row[name] for name in KEY): row for row in rows_of(lake, NAME)}
        expected = expected_rows([row for batch in batches for row in batch])
        assert found.keys() == expected.keys()
        for key, figures in expected.items():
            close(found[key], figures)
