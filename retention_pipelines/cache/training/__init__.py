"""Cached training sets: prepared once, kept as files that every process maps, checked before they are believed."""

from retention_pipelines.cache.training.value import TrainingSet

__all__ = ["TrainingSet"]
