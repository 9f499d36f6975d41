"""What people and machines run: set up, test, describe, render."""
