"""Trained models: where they are, what they are, and how they are loaded."""
