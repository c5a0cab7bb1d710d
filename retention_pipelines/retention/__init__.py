"""What is kept, archived or deleted, and why."""
