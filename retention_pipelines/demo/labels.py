"""What every simulated record says about itself."""

PREFIX = "simulated_"
CITATION = "Simulated by retention_pipelines; not observations."
LICENCE = "CC0-1.0"
LICENCE_URL = "https://creativecommons.org/publicdomain/zero/1.0/"
NOTICE = (
    "SIMULATED DATA. Every record was drawn from a simple model of the Angola-Benguela shelf to show the software. "
    "Nothing here was observed; do not use it for science, management or navigation."
)


def dataset_id(name: str) -> str:
    """The dataset_id of a simulated set."""
    return PREFIX + name
