"""Whatever a player plays, decoded in order: files, and streams that nobody can seek in."""
