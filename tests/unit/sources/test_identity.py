import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.sources.identity import from_file_name, from_package, slug


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("cwwcNDBCMet_1a2b_3c4d_5e6f_U1700000000000.csv", "cwwcNDBCMet"),
        ("sst_20170801.nc", "sst"),
        ("sst_201708.nc", "sst"),
        ("sst-2017-08-01.nc4", "sst"),
        ("ostia_monthly.nc", "ostia_monthly"),
        ("records.csv.gz", "records"),
        ("2017.csv", "2017"),
        ("Peixes da Baía.csv", "Peixes_da_Baia"),
        ("survey_v4.2.csv", "survey_v4.2"),
    ],
)
def test_a_file_name_without_what_changes_between_deliveries(name: str, dataset: str) -> None:
    assert from_file_name(name) == dataset


@pytest.mark.parametrize(
    ("package", "dataset"),
    [
        ("https://ipt.obis.org/secretariat/resource?id=banc-darguin-ccmar-2023/v1.0", "banc-darguin-ccmar-2023"),
        ("https://ipt.obis.org/secretariat/resource?r=my_set&v=1.2", "my_set"),
        ("50c9509d-22c7-4a22-a47d-8c48425ef4a7/v2.11", "50c9509d-22c7-4a22-a47d-8c48425ef4a7"),
        ("https://doi.org/10.15468/abc123", "abc123"),
    ],
)
def test_a_package_identifier_without_its_version(package: str, dataset: str) -> None:
    assert from_package(package) == dataset


@given(st.text(max_size=120))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_an_id_is_always_legal(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{0,80}", slug(text))
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", from_file_name(text))
