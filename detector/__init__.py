"""A streaming audio event detector: microphones in, labelled segments out over MQTT."""

__version__ = "0.1.0"
