import math
from datetime import UTC, datetime

import pytest

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.traits import load_traits
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def species(lake, add_occurrences, stored):
    def compute(*rows):
        add_occurrences(*rows)
        compute_features(lake, months=None, now=NOW, feature_types=["species"])
        (row,) = stored("species")
        return row

    return compute


def test_diversity_follows_the_definitions_by_abundance(species):
    row = species(
        {"scientific_name": "A", "abundance": 6.0},
        {"scientific_name": "A ", "abundance": 2.0},
        {"scientific_name": "B", "abundance": 2.0},
        {"scientific_name": "C", "abundance": None},
    )
    shannon = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert row["diversity_basis"] == "abundance"
    assert (row["richness"], row["n_records"], row["total_abundance"]) == (2, 4, 10.0)
    assert row["shannon"] == pytest.approx(shannon)
    assert row["gini_simpson"] == pytest.approx(1 - 0.68)
    assert row["pielou"] == pytest.approx(shannon / math.log(2))
    assert (row["dominant_taxon"], row["dominant_share"]) == ("A", 0.8)


def test_without_abundances_records_are_counted_and_densities_are_only_summed(species):
    row = species(
        {"scientific_name": "A", "density": 40.0, "density_unit": "10m-2"},
        {"scientific_name": "B", "density": 2.0, "density_unit": "10m-2"},
    )
    assert (row["diversity_basis"], row["total_abundance"]) == ("records", None)
    assert row["shannon"] == pytest.approx(math.log(2))
    assert (row["total_density"], row["total_density_unit"]) == (42.0, "10m-2")
    assert row["dominant_taxon"] == "A"


def test_densities_of_different_units_are_not_added(species):
    row = species({"density": 1.0, "density_unit": "m-2"}, {"density": 1.0, "density_unit": "m-3"})
    assert (row["total_density"], row["total_density_unit"]) == (None, None)


def test_absences_subtotals_and_nameless_records_never_count(species):
    row = species(
        {"scientific_name": "A", "abundance": 1.0},
        {"scientific_name": "Gone", "occurrence_status": "absent", "abundance": 0.0},
        {"scientific_name": "Total krill", "abundance": 1000.0, "is_subtotal": True},
        {"scientific_name": None, "abundance": 5.0},
    )
    assert (row["richness"], row["n_records"], row["shannon"], row["pielou"]) == (1, 1, 0.0, None)


def test_a_study_that_found_nothing_has_richness_0_and_no_diversity(species):
    row = species({"occurrence_status": "absent"})
    assert (row["richness"], row["n_records"], row["shannon"], row["diversity_basis"]) == (0, 0, None, None)
    assert row["quality_score"] == 0.0


def test_shares_come_from_the_traits_table_over_all_taxa_and_stay_null_without_a_column(tmp_path, lake, species):
    traits = tmp_path / "traits.csv"
    traits.write_text("scientific_name,threatened,endemic\nA,true,no\nB,false,\n")
    loaded = load_traits(traits)
    assert loaded.stated == {"threatened", "endemic"}
    settings = load_settings({}, lake_root=lake.root, traits_file=traits)
    species({"scientific_name": "A"}, {"scientific_name": "B"}, {"scientific_name": "C"}, {"scientific_name": "D"})
    with Lake(settings) as with_traits:
        compute_features(with_traits, months=None, now=NOW, feature_types=["species"])
        rows = (
            with_traits.con.sql(f"from {with_traits.table('feature_store').scan()} where version = 2").pl().to_dicts()
        )
    assert [(r["threatened_share"], r["commercial_share"], r["endemic_share"]) for r in rows] == [(0.25, None, 0.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,threatened\nA,true\n", "needs scientific_name"),
        ("scientific_name\nA\n", "at least one of"),
        ("scientific_name,threatened\nA,perhaps\n", "Line 2.*'perhaps'"),
        ("scientific_name,threatened\nA,true\nA,true\n", "Line 3.*repeated"),
    ],
)
def test_a_malformed_traits_table_is_refused(tmp_path, content, message):
    path = tmp_path / "traits.csv"
    path.write_text(content)
    with pytest.raises(FeatureError, match=message):
        load_traits(path)


def test_a_number_that_is_no_quantity_does_not_count_and_stops_nothing(species):
    row = species(
        {"scientific_name": "A", "abundance": 6.0, "density": 0.5, "density_unit": "m-2"},
        {"scientific_name": "B", "abundance": math.inf, "density": -999.0, "density_unit": "m-2"},
        {"scientific_name": "C", "abundance": -1.0},
    )
    assert (row["richness"], row["total_abundance"], row["total_density"], row["n_records"]) == (1, 6.0, 0.5, 3)
