"""Why a sound was an event, or was not."""
