"""The caches: decorators in front of memory, Postgres, the lake and files. Import from `retention_pipelines`."""
