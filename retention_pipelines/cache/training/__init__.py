"""Cached training sets: prepared once, kept as files that every process maps, checked before they are believed."""
