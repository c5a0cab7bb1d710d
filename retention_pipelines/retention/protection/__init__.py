"""What keeps a row whatever its policy says: legal holds, pins, leases, and the roots of models."""
