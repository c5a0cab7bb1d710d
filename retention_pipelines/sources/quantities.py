"""The table of quantities as they are stored: one entry per variable.

What belongs here: names of variables (the quantity and its unit as suffix), CF standard names, the short names that
programmes use (Argo, CMEMS, NDBC, ERDDAP, CalCOFI). What does not: reading a file's columns by it (`cf.py`), spellings
of units (`units.py`). The file is long because it is a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from retention_pipelines.sources.units import Conversion, conversion


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A quantity as it is stored.

    `units` are spellings accepted for this quantity alone (practical salinity is dimensionless, and written 1, 1e-3
    or psu with the same numbers). `surface_names` are names that mean the sea surface: depth 0. `stands_for` is the
    quantity it is stored as where a file has no such column of its own.
    """

    variable: str
    unit: str
    standard_names: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    surface_names: tuple[str, ...] = ()
    surface_standard_name: str | None = None
    units: Mapping[str, Conversion] = field(default_factory=dict)
    unit_optional: bool = False
    stands_for: str | None = None

    def conversion(self, unit: str | None) -> Conversion | None:
        """From a unit to the quantity's; None where the unit is missing, unknown or of another kind."""
        if unit is None or not unit.strip():
            return Conversion() if self.unit_optional else None
        return self.units.get(unit.strip().casefold()) or conversion(unit, self.unit)


_SAME = Conversion()
_SALINITY_UNITS = dict.fromkeys(
    ("1", "1e-3", "0.001", "1.e-3", "10-3", "psu", "pss", "pss-78", "pss78", "ppt", "g/kg", "g kg-1", "‰"), _SAME
) | {"kg/kg": Conversion(scale=1000.0), "kg kg-1": Conversion(scale=1000.0)}
_OXYGEN = (
    "doxy",
    "dox2",
    "oxygen",
    "o2",
    "dissolved_oxygen",
    "oxy",
    "mole_concentration_of_dissolved_molecular_oxygen",
)


def _nutrient(name: str, *aliases: str) -> tuple[Quantity, Quantity]:
    """Per mass and per volume are two quantities: one is not the other without the density of the water."""
    return (
        Quantity(
            variable=f"{name}_umol_kg",
            unit="umol kg-1",
            standard_names=(f"moles_of_{name}_per_unit_mass_in_sea_water",),
            aliases=(name, *aliases),
        ),
        Quantity(
            variable=f"{name}_mmol_m3",
            unit="mmol m-3",
            standard_names=(f"mole_concentration_of_{name}_in_sea_water",),
            aliases=(name, *aliases),
        ),
    )


QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        variable="temperature_degc",
        unit="degree_Celsius",
        standard_names=("sea_water_temperature",),
        aliases=(
            "temp",
            "temperature",
            "t_degc",
            "water_temp",
            "water_temperature",
            "watertemp",
            "temperature_degc",
            "tempis",
            "temp_degc",
            "seawatertemperature",
        ),
        surface_standard_name="sea_surface_temperature",
        surface_names=(
            "sea_surface_temperature",
            "sea_surface_skin_temperature",
            "sea_surface_subskin_temperature",
            "sea_surface_foundation_temperature",
            "surface_temperature",
            "sst",
            "analysed_sst",
            "wtmp",
            "analysed_sea_surface_temperature",
            "sea_surface_temp",
            "surface_temp",
            "sst_degc",
        ),
    ),
    Quantity(
        variable="potential_temperature_degc",
        unit="degree_Celsius",
        standard_names=("sea_water_potential_temperature",),
        aliases=("thetao", "theta", "potential_temperature", "ptemp"),
        surface_standard_name="sea_surface_temperature",
        surface_names=("tos",),
        stands_for="temperature_degc",
    ),
    Quantity(
        variable="conservative_temperature_degc",
        unit="degree_Celsius",
        standard_names=("sea_water_conservative_temperature",),
        aliases=("bigthetao", "conservative_temperature"),
    ),
    Quantity(
        variable="salinity_psu",
        unit="psu",
        standard_names=("sea_water_practical_salinity", "sea_water_salinity"),
        aliases=(
            "psal",
            "sal",
            "salinity",
            "so",
            "salt",
            "practical_salinity",
            "salnty",
            "salinity_psu",
            "seawatersalinity",
        ),
        surface_standard_name="sea_surface_salinity",
        surface_names=("sea_surface_salinity", "sea_surface_practical_salinity", "sss", "sos"),
        units=_SALINITY_UNITS,
        unit_optional=True,
    ),
    Quantity(
        variable="absolute_salinity_g_kg",
        unit="g kg-1",
        standard_names=("sea_water_absolute_salinity",),
        aliases=("absolute_salinity",),
    ),
    Quantity(
        variable="oxygen_saturation_percent",
        unit="percent",
        standard_names=("fractional_saturation_of_oxygen_in_sea_water", "percent_saturation_of_oxygen_in_sea_water"),
        aliases=("o2sat", "oxygen_saturation", "oxygen_saturation_percent", "osat", "o2_saturation", *_OXYGEN),
    ),
    Quantity(
        variable="oxygen_umol_kg",
        unit="umol kg-1",
        standard_names=("moles_of_oxygen_per_unit_mass_in_sea_water",),
        aliases=_OXYGEN,
    ),
    Quantity(
        variable="oxygen_mmol_m3",
        unit="mmol m-3",
        standard_names=(
            "mole_concentration_of_dissolved_molecular_oxygen_in_sea_water",
            "mass_concentration_of_oxygen_in_sea_water",
        ),
        aliases=_OXYGEN,
        # The molar volume (22.3916 l) and mass (31.9988 g) of oxygen, as SCOR working group 142 recommends.
        units={unit: Conversion(scale=44.6596) for unit in ("ml/l", "ml l-1", "ml/liter", "ml.l-1")}
        | {unit: Conversion(scale=1000 / 31.9988) for unit in ("mg/l", "mg l-1", "mg.l-1", "g m-3", "g/m3")},
    ),
    Quantity(
        variable="chlorophyll_mg_m3",
        unit="mg m-3",
        standard_names=(
            "mass_concentration_of_chlorophyll_a_in_sea_water",
            "mass_concentration_of_chlorophyll_in_sea_water",
            "concentration_of_chlorophyll_in_sea_water",
            "chlorophyll_concentration_in_sea_water",
        ),
        aliases=("chl", "chla", "chl_a", "chlora", "chlorophyll", "chlorophyll_a", "cphl", "chlorophyll_mg_m3"),
        surface_names=(
            "chlor_a",
            "chlorophyll_a_concentration",
            "mass_concentration_of_chlorophyll_a_in_surface_sea_water",
        ),
    ),
    *_nutrient("nitrate", "no3", "ntra"),
    *_nutrient("phosphate", "po4", "phos"),
    *_nutrient("silicate", "si", "slca", "sio3", "sio4"),
    Quantity(
        variable="ph_total",
        unit="1",
        standard_names=("sea_water_ph_reported_on_total_scale",),
        aliases=("ph", "phph", "ph_in_situ_total", "ph_total"),
        unit_optional=True,
        units={"ph": _SAME, "ph_units": _SAME, "ph units": _SAME},
    ),
    Quantity(
        variable="turbidity_ntu", unit="NTU", standard_names=("sea_water_turbidity",), aliases=("turbidity", "turb")
    ),
    Quantity(
        variable="eastward_current_m_s",
        unit="m s-1",
        standard_names=("eastward_sea_water_velocity",),
        aliases=("uo", "ewct", "water_u"),
        surface_names=("surface_eastward_sea_water_velocity",),
    ),
    Quantity(
        variable="northward_current_m_s",
        unit="m s-1",
        standard_names=("northward_sea_water_velocity",),
        aliases=("vo", "nsct", "water_v"),
        surface_names=("surface_northward_sea_water_velocity",),
    ),
    Quantity(
        variable="sea_surface_height_m",
        unit="m",
        standard_names=(),
        surface_names=(
            "sea_surface_height_above_geoid",
            "sea_surface_height_above_sea_level",
            "sea_surface_height_above_reference_ellipsoid",
            "sea_surface_height",
            "zos",
            "sla",
            "adt",
            "ssh",
        ),
    ),
    Quantity(
        variable="mixed_layer_depth_m",
        unit="m",
        standard_names=("ocean_mixed_layer_thickness_defined_by_sigma_theta", "ocean_mixed_layer_thickness"),
        aliases=("mlotst", "mld"),
    ),
    Quantity(
        variable="wave_height_m",
        unit="m",
        standard_names=(),
        surface_names=("sea_surface_wave_significant_height", "wvht", "vhm0", "swh"),
    ),
    Quantity(
        variable="wave_period_s",
        unit="s",
        standard_names=(),
        surface_names=("sea_surface_wave_period_at_variance_spectral_density_maximum", "dpd", "vtpk"),
    ),
    Quantity(
        variable="average_wave_period_s",
        unit="s",
        standard_names=(),
        surface_names=("sea_surface_wave_mean_period", "apd"),
    ),
    Quantity(
        variable="wave_from_direction_degree",
        unit="degree",
        standard_names=(),
        surface_names=("sea_surface_wave_from_direction", "mwd", "vmdr"),
    ),
    Quantity(variable="wind_speed_m_s", unit="m s-1", standard_names=("wind_speed",), aliases=("wspd", "wind_spd")),
    Quantity(variable="wind_gust_m_s", unit="m s-1", standard_names=("wind_speed_of_gust",), aliases=("gst", "gust")),
    Quantity(
        variable="wind_from_direction_degree",
        unit="degree",
        standard_names=("wind_from_direction",),
        aliases=("wdir", "wind_from", "wind_dir"),
    ),
    Quantity(variable="eastward_wind_m_s", unit="m s-1", standard_names=("eastward_wind",)),
    Quantity(variable="northward_wind_m_s", unit="m s-1", standard_names=("northward_wind",)),
    Quantity(
        variable="air_temperature_degc",
        unit="degree_Celsius",
        standard_names=("air_temperature",),
        aliases=("atmp", "air_temp"),
    ),
    Quantity(
        variable="dew_point_degc",
        unit="degree_Celsius",
        standard_names=("dew_point_temperature",),
        aliases=("dewp", "dew_point"),
    ),
    Quantity(
        variable="air_pressure_hpa",
        unit="hPa",
        standard_names=(
            "air_pressure",
            "air_pressure_at_sea_level",
            "air_pressure_at_mean_sea_level",
            "surface_air_pressure",
        ),
        aliases=("bar", "baro", "air_press", "barometric_pressure"),
    ),
)
