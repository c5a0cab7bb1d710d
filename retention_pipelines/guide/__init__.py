"""The calls of the platform's original guide: thin adapters over the real modules, and nothing else."""
