"""Settings: bounds, names, secrets."""

from pathlib import Path

import pytest

from retention_pipelines.errors import SettingsError
from retention_pipelines.settings import Settings, load_settings

DATABASE = "postgresql://user:canary-password@db.example.org/retention"


def test_defaults_need_no_environment() -> None:
    settings = load_settings({})
    assert (settings.lake_root, settings.cell_deg, settings.locale, settings.mode) == ("warehouse", 0.25, "en", "full")
    assert settings.database_url is None


def test_values_come_from_the_environment_and_keywords_win() -> None:
    environ = {"RETENTION_CELL_DEG": "0.5", "RETENTION_LOCALE": "pt", "PATH": "ignored", "RETENTION_MODE": ""}
    settings = load_settings(environ, locale="en")
    assert (settings.cell_deg, settings.locale, settings.mode) == (0.5, "en", "full")


def test_only_the_environment_that_is_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DATABASE_URL", DATABASE)
    monkeypatch.setenv("RETENTION_LAKE_ROOT", "")
    assert load_settings({}).database_url is None
    assert load_settings().lake_root == "warehouse"


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    settings = load_settings({"RETENTION_LAKE_ROOT": "~/sea", "RETENTION_STATE_DIR": "~/state"})
    assert (settings.lake_root, settings.state_dir) == ("/home/ana/sea", Path("/home/ana/state"))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("RETENTION_CELL_DEGREES", "RETENTION_CELL_DEG"),
        ("RETENTION_LAKEROOT", "RETENTION_LAKE_ROOT"),
        ("RETENTION_DATABSE_URL", "RETENTION_DATABASE_URL"),
        ("retention_modus", "RETENTION_MODE"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_the_right_one(name: str, suggestion: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting.*{suggestion}"):
        load_settings({name: "x"})


def test_an_unknown_keyword_is_an_error_that_suggests_the_right_one() -> None:
    with pytest.raises(SettingsError, match="'cell_deg'"):
        load_settings({}, cell_degree=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETENTION_CELL_DEG", "0"),
        ("RETENTION_CELL_DEG", "0.009"),
        ("RETENTION_CELL_DEG", "31"),
        ("RETENTION_CELL_DEG", "0.7"),
        ("RETENTION_CELL_DEG", "nan"),
        ("RETENTION_CELL_DEG", "a quarter"),
        ("RETENTION_SURFACE_LIMIT_M", "0"),
        ("RETENTION_SURFACE_LIMIT_M", "201"),
        ("RETENTION_LOCALE", "de"),
        ("RETENTION_MODE", "readonly"),
        ("RETENTION_MEMORY_LIMIT_MB", "255"),
        ("RETENTION_LAKE_ROOT", "https://example.org/lake"),
    ],
)
def test_a_value_out_of_bounds_is_an_error_that_names_the_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({name: value})


@pytest.mark.parametrize("value", ["0.01", "0.1", "0.25", "1", "5", "30"])
def test_cells_that_tile_the_globe_are_accepted(value: str) -> None:
    assert load_settings({"RETENTION_CELL_DEG": value}).cell_deg == float(value)


def test_the_password_is_in_no_printed_form() -> None:
    settings = load_settings({"RETENTION_DATABASE_URL": DATABASE})
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == DATABASE
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "canary-password" not in text
    with pytest.raises(SettingsError) as caught:
        load_settings({"RETENTION_DATABASE_URL": DATABASE, "RETENTION_CELL_DEG": "0"})
    assert "canary-password" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_settings({}).cell_deg = 1.0  # type: ignore[misc]


def test_a_lake_on_s3_keeps_its_landing_folder_on_this_machine() -> None:
    settings = load_settings({}, lake_root="s3://bucket/lake/", state_dir="state")
    assert (settings.lake_root, settings.lake_is_local) == ("s3://bucket/lake", False)
    assert settings.landing_dir == Path("state/landing")
    assert load_settings({}, lake_root="data").landing_dir == Path("data/landing")


def test_every_setting_says_what_it_does() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
