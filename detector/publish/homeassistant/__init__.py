"""What Home Assistant is told of this node."""
