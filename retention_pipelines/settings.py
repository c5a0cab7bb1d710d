"""Settings: the only module that reads the environment.

What belongs here: names, bounds and defaults of what a person may configure. What does not: connections,
paths that are derived from data, anything that changes while a process runs. `load_settings()` is called at
the edge (CLI, `definitions.py`, `connect()`); everything below receives a `Settings`.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from retention_pipelines.errors import ReadOnly, SettingsError

PREFIX = "RETENTION_"


class Settings(BaseModel):
    """Every setting, with its bounds; environment names are `RETENTION_` plus the upper-case field name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr | None = Field(
        default=None,
        description="Postgres to use, as postgresql://user:password@host/database. Unset: the embedded server.",
    )
    lake_root: str = Field(
        default="warehouse",
        min_length=1,
        description="Folder or s3://bucket/prefix that holds the data.",
    )
    cold_root: str | None = Field(
        default=None,
        min_length=1,
        description="Folder or s3://bucket/prefix that rows migrate to, by policy. Unset: such policies cannot run.",
    )
    state_dir: Path = Field(
        default=Path(".retention"),
        description="Folder of this machine's state: embedded Postgres, Dagster home, files kept aside.",
    )
    cell_deg: float = Field(
        default=0.25,
        ge=0.01,
        le=30.0,
        description="Size of a grid cell in degrees.",
    )
    surface_limit_m: float = Field(
        default=10.0,
        gt=0.0,
        le=200.0,
        description="Depth in metres (or pressure in dbar) down to which a measurement is `surface`, inclusive.",
    )
    locale: Literal["en", "pt"] = Field(default="en", description="Language of reports and pages: en or pt.")
    mode: Literal["full", "read_only"] = Field(
        default="full",
        description="full, or read_only: reads everything and writes nothing.",
    )
    memory_limit_mb: int | None = Field(
        default=None,
        ge=256,
        description="Megabytes DuckDB may use before it spills to disk. Unset: half of this machine's memory.",
    )
    zones_file: Path | None = Field(
        default=None,
        description="GeoJSON polygons with a `name` property: named zones of the spatial features.",
    )
    regions_file: Path | None = Field(
        default=None,
        description="YAML of regions with their seasons, for the temporal features. Unset: the packaged list.",
    )
    traits_file: Path | None = Field(
        default=None,
        description="CSV with scientific_name, threatened, commercial, endemic. Unset: those shares are unknown.",
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        description="Address of an S3-compatible server. Unset: AWS. Keys and region: the usual AWS_* variables.",
    )

    tenant: str = Field(
        default="local",
        pattern=r"^[a-z0-9_]{1,64}$",
        description="Whose cached entries this process reads and writes; tenants never see each other's.",
    )
    cache_enabled: bool = Field(
        default=True,
        description="Kill switch of the caches: with false every decorated function just runs.",
    )
    cache_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Secret that authenticates cached payloads. Unset: made once per state folder.",
    )
    cache_memory_entries: int = Field(
        default=10_000, ge=1, description="Entries the memory tier of a process holds at most."
    )
    cache_memory_mb: int = Field(default=128, ge=1, description="Megabytes the memory tier of a process holds at most.")
    cache_deadline_seconds: float = Field(
        default=0.25,
        gt=0.0,
        le=30.0,
        description="Longest a cached call waits for Postgres before the function just runs.",
    )
    cache_flush_seconds: float = Field(
        default=1.0,
        ge=0.05,
        le=60.0,
        description="Longest a written entry waits in this process: what a crash can lose.",
    )
    feature_ttl_hours: float = Field(default=24.0, gt=0.0, description="Life of cached features, in hours.")
    prediction_ttl_hours: float = Field(default=6.0, gt=0.0, description="Life of cached predictions, in hours.")
    training_ttl_hours: float = Field(default=168.0, gt=0.0, description="Life of cached training sets, in hours.")
    integration_file: Path | None = Field(
        default=None,
        description="YAML that says which functions and methods of existing code to cache. Unset: the packaged list.",
    )
    disk_low_share: float = Field(
        default=0.80, gt=0.0, lt=1.0, description="Used share of the disk below which pressure ends."
    )
    disk_high_share: float = Field(
        default=0.85, gt=0.0, lt=1.0, description="Used share of the disk at which pressure begins."
    )
    disk_stop_share: float = Field(
        default=0.92, gt=0.0, le=1.0, description="Used share of the disk at which writing stops; 1: never."
    )
    reserve_mb: int = Field(
        default=64, ge=0, description="Megabytes kept aside on the lake's disk so that retention runs on a full one."
    )
    pressure_forward_share: float = Field(
        default=0.1, ge=0.0, le=0.5, description="Share of its time to keep that a row may go early by, under pressure."
    )
    full_disk_grace_hours: float = Field(
        default=24.0, ge=0.0, description="Longest grace, in hours, while the disk is so full that writing stopped."
    )
    access_log_days: int = Field(
        default=90, ge=1, le=3650, description="Days for which reads are kept by key and day; `simulate` replays them."
    )
    storage_price_gb_month: float = Field(
        default=0.025, gt=0.0, description="What keeping a gigabyte (10^9 bytes) for 30 days costs, in any currency."
    )
    compute_price_cpu_second: float = Field(
        default=0.000014, gt=0.0, description="What a second of computing costs, in the same currency."
    )
    dagster_log_days: int = Field(
        default=30, ge=1, le=3650, description="Days Dagster keeps log lines, what steps printed, and ticks."
    )
    dagster_run_days: int = Field(
        default=365,
        ge=1,
        le=3650,
        description="Days Dagster keeps runs and superseded materializations; the latest of each stays.",
    )
    log_file: Path | None = Field(
        default=None,
        description="File for structured logs, such as logs/ml_retention.log. Unset: none is written.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe messages that are logged: DEBUG, INFO, WARNING or ERROR."
    )

    @field_validator("lake_root", "cold_root")
    @classmethod
    def _lake_root_is_a_folder_or_s3(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "://" in value and not value.startswith("s3://"):
            raise ValueError("must be a folder or start with s3://")
        return os.path.expanduser(value.rstrip("/") or "/")

    @field_validator("state_dir", "zones_file", "regions_file", "traits_file", "integration_file", "log_file")
    @classmethod
    def _home_is_spelled_out(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("cell_deg")
    @classmethod
    def _cells_tile_the_globe(cls, value: float) -> float:
        if abs(round(180 / value) - 180 / value) > 1e-9:
            raise ValueError("must divide 180 degrees without remainder, for example 0.1, 0.25, 0.5, 1 or 5")
        return value

    @model_validator(mode="after")
    def _watermarks_rise(self) -> Self:
        if not self.disk_low_share < self.disk_high_share < self.disk_stop_share:
            raise ValueError("RETENTION_DISK_LOW_SHARE, _HIGH_SHARE and _STOP_SHARE must rise")
        return self

    def require_full(self, what: str) -> None:
        """Raise unless this mode may write; `what` is what would have written."""
        if self.mode == "read_only":
            raise ReadOnly(f"{what} writes, and the mode is read_only.", hint="Set RETENTION_MODE=full.")

    @property
    def lake_is_local(self) -> bool:
        """Whether the lake is a folder on this machine."""
        return "://" not in self.lake_root

    @property
    def landing_dir(self) -> Path:
        """Folder the sensor watches for raw files."""
        return (Path(self.lake_root) if self.lake_is_local else self.state_dir) / "landing"

    @property
    def refused_dir(self) -> Path:
        """Folder for copies of raw files that could not be read."""
        return self.state_dir / "refused"

    @property
    def training_sets_dir(self) -> Path:
        """Folder of cached training sets' matrices: beside the lake, or on this machine where the lake is remote."""
        return (Path(self.lake_root) if self.lake_is_local else self.state_dir) / "_training_sets"

    @property
    def storage_options(self) -> dict[str, str] | None:
        """Options of the object store, None for a local lake."""
        return None if self.lake_is_local else self._store_options()

    @property
    def cold_storage_options(self) -> dict[str, str] | None:
        """Options of the object store that rows migrate to, None for a folder."""
        return self._store_options() if self.cold_root and "://" in self.cold_root else None

    def _store_options(self) -> dict[str, str]:
        options = {
            name: os.environ[name]
            for name in (
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
                "AWS_REGION",
            )
            if name in os.environ
        }
        if self.s3_endpoint_url:
            options["AWS_ENDPOINT_URL"] = self.s3_endpoint_url
            if self.s3_endpoint_url.startswith("http://"):
                options["AWS_ALLOW_HTTP"] = "true"
        return options


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment; keyword arguments win.

    Raises SettingsError for an unknown `RETENTION_*` name (with the nearest known one) or a value out of bounds.
    """
    environ = os.environ if environ is None else environ
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    values: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.upper().startswith(PREFIX):
            continue
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            raise SettingsError(
                f"{name} is not a setting.",
                hint=f"Did you mean {near[0]}? All settings are listed in docs/settings.md.",
            )
        if value != "":
            values[known[name.upper()]] = value
    unknown = sorted(set(overrides) - set(Settings.model_fields))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Settings.model_fields, n=1, cutoff=0.0)
        raise SettingsError(f"{unknown[0]!r} is not a setting.", hint=f"Did you mean {near[0]!r}?")
    try:
        return Settings.model_validate(values | overrides)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "disk_stop_share"
        raise SettingsError(
            f"{PREFIX}{field.upper()}: {first['msg']}.",
            hint=Settings.model_fields[field].description if field in Settings.model_fields else None,
        ) from None
