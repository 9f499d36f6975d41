"""A second opinion for the network that was trained here: YAMNet's, in one graph."""
