"""Rules over labels: events that follow from the events of several labels, or of none."""
