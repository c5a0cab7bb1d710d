"""What brings rows back within their grace, and what shows that they were missed."""
