"""The secret of the caches; online features share it, so it lies in `postgres/secret.py`."""

from retention_pipelines.postgres.secret import FILE_NAME, load_secret

__all__ = ["FILE_NAME", "load_secret"]
