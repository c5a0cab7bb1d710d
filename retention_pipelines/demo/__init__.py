"""The demonstration: a simulated survey written in real formats, and the report printed at its end."""
