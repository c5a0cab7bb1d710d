"""Caching for code that stays as it is: reversible patches and queued work."""
