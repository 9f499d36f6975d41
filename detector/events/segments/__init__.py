"""Steps to segments: when a label begins, goes on and ends."""
