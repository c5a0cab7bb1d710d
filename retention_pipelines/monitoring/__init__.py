"""What the platform measures of itself: health and metrics."""
