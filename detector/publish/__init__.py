"""Events to the world: MQTT for machines, JSON lines for pipes."""
