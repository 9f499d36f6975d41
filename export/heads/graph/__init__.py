"""An encoder is cut from its graph, and a new layer put on it."""
