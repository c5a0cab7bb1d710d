"""What other policies would have done with the reads that were recorded."""
