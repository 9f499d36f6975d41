"""Trained models: where they are, what they are, and how they are loaded."""

import torch  # noqa: F401 (transformers would write in its own words that there is none)
