"""AudioBlock to Window: what a model sees, computed as the sound arrives."""
