"""Public surface for notebooks and ML code; light to import: everything is loaded on first use."""
