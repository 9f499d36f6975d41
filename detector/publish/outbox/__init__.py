"""Where events wait for the broker, on the disk and in memory."""
