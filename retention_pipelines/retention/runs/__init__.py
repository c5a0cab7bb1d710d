"""A sealed plan carried out step by step, resumable after a crash, by one runner at a time."""
