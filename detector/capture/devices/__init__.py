"""Sound devices, and the names by which they are found again."""
