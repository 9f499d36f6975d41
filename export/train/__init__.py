"""The recipe that made the built-in model `sounds`; `python -m export.train --help`."""
