"""The connection to an MQTT broker, and what is published over it."""
