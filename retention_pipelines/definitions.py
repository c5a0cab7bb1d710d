"""What Dagster loads. Nothing happens at import: the settings are read when Dagster asks for the definitions."""

import dagster as dg

from retention_pipelines.defs.build import build
from retention_pipelines.settings import Settings, load_settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of one lake, in flow order."""
    return build(settings)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for the settings of the environment."""
    return build_definitions(load_settings())
