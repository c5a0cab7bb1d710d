"""Raw files in: one module per format; every row ends up accepted, quarantined or a duplicate."""
