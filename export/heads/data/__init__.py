"""Recordings become examples."""
