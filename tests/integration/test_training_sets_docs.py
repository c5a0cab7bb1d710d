"""The example of docs/training_sets.md runs as it stands."""

import re
from pathlib import Path
from typing import Any

from retention_pipelines.cache import runtime
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.features.conftest import append_rows
from tests.unit.features.test_store import at, row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training_sets.md"


def test_the_example_runs(settings: Settings) -> None:
    rows = []
    for number in range(40):
        plain = row(f"s/{number}", event=3 + number % 5, value=1.0)
        del plain["temperature_degc"]
        rows.append(plain | {"feature_type": "spatial", "latitude": number / 10})
        rows.append(plain | {"feature_type": "temporal", "day_of_year_sin": number / 40, "feature_id": f"t/{number}"})
    with Lake(settings) as lake:
        append_rows(lake, "feature_store", rows)
    studies = [{"source_data_id": f"s/{n}", "event_timestamp": at(30), "label": n % 2} for n in range(40)]
    runtime.configure(settings)
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example) == 1
    names: dict[str, Any] = {"settings": settings, "studies": studies, "__name__": "example"}
    exec(compile(example[0], str(PAGE), "exec"), names)
    info = names["prepare"].cache_info()
    assert (info.misses, info.files_hits) == (1, 2)
    runtime.close()
