"""The network: YAMNet, what is trained on it, and both opinions in one graph."""
