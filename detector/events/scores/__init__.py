"""Scores to steps: moments at which every label has a score."""
