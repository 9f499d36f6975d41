"""The sound of cameras and other streams: a program of its own, on FFmpeg."""
