import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.sources.units import Conversion, conversion, is_known, normalise


@pytest.mark.parametrize(
    ("written", "target", "raw", "stored"),
    [
        ("K", "degree_Celsius", 288.15, 15.0),
        ("kelvin", "degree_Celsius", 273.15, 0.0),
        ("deg_F", "degree_Celsius", 68.0, 20.0),
        ("degrees_C", "degree_Celsius", 12.5, 12.5),
        ("°C", "degree_Celsius", 12.5, 12.5),
        ("degrees Celsius", "degree_Celsius", 12.5, 12.5),
        ("kg m-3", "mg m-3", 1e-6, 1.0),
        ("mg/m^3", "mg m-3", 0.4, 0.4),
        ("ug/L", "mg m-3", 0.4, 0.4),
        ("µg L-1", "mg m-3", 0.4, 0.4),
        ("micromole/kg", "umol kg-1", 210.0, 210.0),
        ("mol m-3", "mmol m-3", 0.2, 200.0),
        ("uM", "mmol m-3", 3.0, 3.0),
        ("cm s-1", "m s-1", 50.0, 0.5),
        ("knots", "m s-1", 1.0, 0.514444444),
        ("Pa", "hPa", 101325.0, 1013.25),
        ("decibar", "dbar", 100.0, 100.0),
        ("feet", "m", 10.0, 3.048),
        ("1", "percent", 0.95, 95.0),
    ],
)
def test_a_listed_unit_is_converted(written: str, target: str, raw: float, stored: float) -> None:
    found = conversion(written, target)
    assert found is not None
    assert found.apply(raw) == pytest.approx(stored, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("furlong", "m"),
        ("", "degree_Celsius"),
        ("m", "degree_Celsius"),
        ("umol kg-1", "mmol m-3"),  # needs the density of the water
        ("um", "mmol m-3"),  # a micrometre is no micromolar
        ("degrees_north", "degree_east"),
    ],
)
def test_an_unlisted_unit_or_another_quantity_is_no_conversion(written: str, target: str) -> None:
    assert conversion(written, target) is None


def test_an_identity_leaves_values_as_they_are() -> None:
    assert conversion("degree_Celsius", "degC") == Conversion()
    assert Conversion().apply("anything") == "anything"


@given(
    st.sampled_from(["mg m-3", "mmol m-3", "umol kg-1", "m s-1", "ml l-1"]),
    st.sampled_from([str, lambda unit: unit.replace(" ", "  "), str.upper, lambda unit: unit.replace("-3", "^-3")]),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_spelling_does_not_matter(unit: str, respell: object) -> None:
    assert callable(respell)
    written = respell(unit)
    assert is_known(written), normalise(written)
    assert conversion(written, unit) == Conversion()


@given(st.floats(-5, 45), st.sampled_from(["K", "degF", "degree_Celsius"]))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_there_and_back_is_the_same_temperature(value: float, unit: str) -> None:
    there, back = conversion("degree_Celsius", unit), conversion(unit, "degree_Celsius")
    assert there is not None
    assert back is not None
    assert back.apply(there.apply(value)) == pytest.approx(value, abs=1e-9)
