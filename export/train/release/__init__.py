"""From the trained network to a bundle, and what is measured of it."""
