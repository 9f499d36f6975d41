"""Programs of their own that capture: run, read, watched and started again."""
