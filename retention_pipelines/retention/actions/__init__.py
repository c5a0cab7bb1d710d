"""How rows go or change: deleted, archived, compressed, downsampled or migrated, in each kind of store."""
