"""What a policy says, which one governs a row, and the policies there are by default."""
