"""AudioSet's ontology, and the bundle made of YAMNet, which was trained on AudioSet."""
