"""Scores to Event: when a sound begins, goes on and ends."""
