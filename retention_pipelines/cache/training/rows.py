"""What Postgres knows of training sets: their rows in `ml_training_cache`, and the log of invalidations.

Rows are for reports, policies and people. No hit needs either: without Postgres the files and marks suffice.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from retention_pipelines.cache import columns
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.training.manifest import Manifest


@cache
def _statement(name: str) -> bytes:
    text = files("retention_pipelines.cache.training").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).encode()


def _json(value: object) -> str:
    return json.dumps(columns.document(value))


def put_row(hot: HotTier, manifest: Manifest, *, content_sha256: bytes, age_seconds: float) -> None:
    """Write the row of a set. Raises Unavailable."""
    told = manifest.description
    values: dict[str, Any] = {
        "tenant": hot.tenant,
        "cache_key": manifest.key,
        "model_type": columns.text(manifest.model_type) or "unknown",
        "model_version": columns.text(manifest.model_version),
        "code_version": columns.text(manifest.code_version),
        "function": columns.text(manifest.function),
        "tags": columns.array([name[4:] for name in manifest.names if name.startswith("tag:")]),
        "parameters": _json(told.parameters),
        "data_versions": _json(told.data_versions),
        "feature_names": columns.array(told.feature_names),
        "preprocessing": _json({"steps": list(told.preprocessing)} if told.preprocessing else {}),
        "class_distribution": _json(told.class_distribution),
        "provenance": _json(told.provenance),
        "n_rows": told.n_rows,
        "n_features": told.n_features,
        "validation_share": told.validation_share,
        "files": f"{hot.tenant}/sets/{manifest.key}",
        "content_sha256": content_sha256,
        "size_bytes": manifest.size_bytes,
        "ttl_seconds": manifest.ttl_seconds,
        "compute_seconds": manifest.compute_seconds,
        "age_seconds": age_seconds,
    }
    hot.change(lambda con: con.execute(_statement("put_row"), values))


def was_invalidated(hot: HotTier, manifest: Manifest) -> bool:
    """Whether the invalidation log names a set after its preparation began. Raises Unavailable."""
    values = {
        "seen": manifest.as_of_seq or 0,
        "tenant": hot.tenant,
        "key": manifest.key,
        "function": columns.text(manifest.function),
        "model": columns.text(manifest.model_type),
        "tags": columns.array([name[4:] for name in manifest.names if name.startswith("tag:")]),
        "sources": columns.array(list(manifest.lake_versions)),
    }
    return bool(hot.ask(_statement("said_since"), values)[0][0])


__all__ = ["put_row", "was_invalidated"]
