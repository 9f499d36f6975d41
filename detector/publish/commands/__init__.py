"""What may be asked of a running service, and what it answers."""
