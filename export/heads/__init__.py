"""New classification layers on the hidden states of encoders, fitted to recordings."""
