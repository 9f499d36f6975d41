"""The configuration: a TOML file becomes frozen, validated settings, a file a concern."""
