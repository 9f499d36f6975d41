"""How well a detector hears: events and scores against a reference."""
