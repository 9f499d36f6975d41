"""What trains: recordings, sounds that are synthesised, and windows composed of them."""
