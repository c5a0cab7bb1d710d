"""Ingest files in a process of its own: `python ingest_worker.py LAKE STATE PATH…`; prints accepted and duplicates."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from retention_pipelines.settings import load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

if __name__ == "__main__":
    root, state, *paths = sys.argv[1:]
    print("start", flush=True)
    with Lake(load_settings({}, lake_root=root, state_dir=Path(state))) as lake:
        report = ingest(paths, lake, now=datetime.now(UTC))
        print(report.accepted, report.duplicates, flush=True)
