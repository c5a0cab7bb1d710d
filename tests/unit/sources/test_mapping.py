"""What a mapping may say, and what its errors point at."""

import pytest
import yaml

from retention_pipelines.errors import MappingError
from retention_pipelines.sources.mapping import Mappings, parse

VALID = {
    "name": "m", "title": "t", "dataset_id": "m", "target": "observations", "source_type": "cast",
    "recognise": {"columns": ["when", "lat", "lon", "t"], "exactly": True},
    "date": {"column": "when"},
    "columns": {"decimal_latitude": "lat", "decimal_longitude": "lon"},
    "variables": [{"column": "t", "variable": "temperature_degc", "unit": "K"}],
}  # fmt: skip


def test_packaged_mappings_are_valid_and_known_by_their_own_header():
    mappings = Mappings.packaged()
    names = [mapping.name for mapping in mappings.known]
    assert {"rreas_catch", "rreas_occurrence_dwc", "calcofi_larvae", "calcofi_bottle", "sactn_monthly"} <= set(names)
    for mapping in mappings.known:
        assert mappings.for_header(mapping.recognise.columns) == mapping
        assert mapping.licence
        assert mapping.citation


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colums": {}}, ["colums", "'columns'"]),
        (
            {"columns": {"decimal_latitud": "lat", "decimal_longitude": "lon"}},
            ["decimal_latitud", "'decimal_latitude'"],
        ),
        ({"columns": {"decimal_latitude": "latt", "decimal_longitude": "lon"}}, ["'latt'", "'lat'"]),
        ({"columns": {"decimal_latitude": "lat"}}, ["decimal_longitude", "position"]),
        ({"variables": [{"column": "t", "variable": "temperatur_degc"}]}, ["variables", "'temperature_degc'"]),
        (
            {"variables": [{"column": "t", "variable": "temperature_degc", "unit": "mg m-3"}]},
            ["mg m-3", "degree_Celsius"],
        ),
        ({"variables": []}, ["variables", "at least one"]),
        ({"source_type": "boat"}, ["source_type", "survey"]),
        ({"date": {}}, ["date", "exactly one"]),
        ({"dataset_id": "a b"}, ["dataset_id"]),
        ({"target": "fish"}, ["target"]),
    ],
)
def test_an_error_names_the_key_and_what_could_stand_there(change, words):
    with pytest.raises(MappingError) as caught:
        parse(yaml.safe_dump(VALID | change), "m.yaml")
    for word in ["m.yaml", *words]:
        assert word in str(caught.value)


def test_text_that_is_no_yaml_is_an_error_with_its_place():
    with pytest.raises(MappingError, match=r"m\.yaml is not YAML"):
        parse("a: [", "m.yaml")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(MappingError, match="Did you mean 'calcofi_bottle'"):
        Mappings.packaged(first="calcofi_bottel")
