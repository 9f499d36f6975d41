"""What is published for Home Assistant."""
