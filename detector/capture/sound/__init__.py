"""Samples as they arrive become mono sound at the analysis rate, with the gain of their source."""
