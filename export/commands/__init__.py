"""What the commands of `detector-export` do, one module each."""
