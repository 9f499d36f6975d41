"""A program of its own that hears what others write: to their stdout, a socket or a FIFO."""
