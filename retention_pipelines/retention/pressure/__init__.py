"""What goes first when the disk or a budget is full, and what a row is worth in bytes and seconds."""
