"""What feature extractors compute, divided between the detector and the graph."""
