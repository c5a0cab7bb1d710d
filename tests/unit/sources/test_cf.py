import pytest

from retention_pipelines.sources.cf import QUANTITIES, Reading, Refusal, quantity, read_as, readings
from retention_pipelines.sources.units import is_known


@pytest.mark.parametrize(
    ("column", "standard_name", "unit", "variable"),
    [
        ("TEMP", None, "degree_Celsius", "temperature_degc"),
        ("analysed_sst", "sea_surface_temperature", "kelvin", "temperature_degc"),
        ("x17", "sea_water_temperature", "K", "temperature_degc"),
        ("PSAL", None, "psu", "salinity_psu"),
        ("so", "sea_water_salinity", "1e-3", "salinity_psu"),
        ("salinity", None, "", "salinity_psu"),
        ("CHL", None, "mg m-3", "chlorophyll_mg_m3"),
        ("chlor_a", None, "kg m-3", "chlorophyll_mg_m3"),
        ("DOXY", None, "micromole/kg", "oxygen_umol_kg"),
        ("o2", "mole_concentration_of_dissolved_molecular_oxygen_in_sea_water", "mol m-3", "oxygen_mmol_m3"),
        ("oxygen", None, "ml/l", "oxygen_mmol_m3"),
        ("oxygen", None, "%", "oxygen_saturation_percent"),
        ("no3", None, "mmol m-3", "nitrate_mmol_m3"),
        ("WTMP", None, "degC", "temperature_degc"),
    ],
)
def test_a_column_is_read_by_its_names_and_its_unit(
    column: str, standard_name: str | None, unit: str, variable: str
) -> None:
    found = read_as(column, standard_name=standard_name, unit=unit)
    assert isinstance(found, Reading)
    assert found.variable == variable


@pytest.mark.parametrize("unit", ["furlong", "", None, "m"])
def test_a_known_name_without_a_usable_unit_is_refused_with_a_sentence(unit: str | None) -> None:
    found = read_as("sea_water_temperature", unit=unit)
    assert isinstance(found, Refusal)
    assert "degree_Celsius" in found.reason
    assert found.reason.startswith("sea_water_temperature has ")


@pytest.mark.parametrize(("column", "standard_name"), [("foo", None), ("temp", "sea_water_temperature status_flag")])
def test_what_names_no_quantity_is_none(column: str, standard_name: str | None) -> None:
    assert read_as(column, standard_name=standard_name, unit="degree_Celsius") is None


def test_a_standard_name_of_something_else_wins_over_a_tempting_column_name() -> None:
    assert read_as("temp", standard_name="battery_temperature", unit="degree_Celsius") is None


def test_surface_names_are_at_the_surface() -> None:
    surface = read_as("sst", unit="degree_Celsius")
    below = read_as("temp", unit="degree_Celsius")
    assert isinstance(surface, Reading)
    assert isinstance(below, Reading)
    assert (surface.at_surface, below.at_surface) == (True, False)
    assert surface.standard_name == "sea_surface_temperature"


def test_potential_temperature_stands_for_temperature_only_where_there_is_none() -> None:
    alone, _ = readings({"thetao": ("sea_water_potential_temperature", "degC")})
    assert [(one.variable, one.standard_name, one.remark) for one in alone] == [
        ("temperature_degc", "sea_water_potential_temperature", "POTENTIAL_TEMPERATURE")
    ]
    beside, _ = readings({"thetao": (None, "degC"), "TEMP": (None, "degC")})
    assert {one.variable for one in beside} == {"temperature_degc", "potential_temperature_degc"}


def test_a_variable_is_taken_from_one_column_only() -> None:
    found, refused = readings({"temp": (None, "degC"), "water_temp": (None, "degC"), "sal": (None, "psu")})
    assert [one.column for one in found] == ["temp", "sal"]
    assert [one.column for one in refused] == ["water_temp"]
    assert "temp, which is used" in refused[0].reason


def test_the_table_has_each_variable_once_and_known_units() -> None:
    variables = [one.variable for one in QUANTITIES]
    assert len(variables) == len(set(variables))
    for one in QUANTITIES:
        assert is_known(one.unit), one.unit
        assert one.standard_names or one.surface_names
        assert quantity(one.variable) is one
    assert quantity("nothing_like_it") is None


def test_oxygen_in_millilitres_is_the_amount_of_substance() -> None:
    found = read_as("oxygen", unit="ml/l")
    assert isinstance(found, Reading)
    assert found.conversion.apply(1.0) == pytest.approx(44.66, abs=0.01)
