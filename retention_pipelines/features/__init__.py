"""Features of studies and the point-in-time reads over them."""
