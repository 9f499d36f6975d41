"""Window to Scores: the bundle that describes a model, and the session that runs it."""
