"""Aggregated series: cells x windows, diversity, seasonality, trends, upwelling."""
