"""A classification layer is fitted and measured."""
