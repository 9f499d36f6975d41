"""Where messages go. Every part is a slug, so no wildcard or separator can get into a topic."""


def node_status(prefix: str, node: str) -> str:
    """Retained: online | offline (the last will)."""
    return f"{prefix}/{node}/status"


def stats(prefix: str, node: str) -> str:
    """Retained: counters of the whole node."""
    return f"{prefix}/{node}/stats"


def source_status(prefix: str, node: str, source: str) -> str:
    """Retained: listening | stalled | offline | silent | clipping."""
    return f"{prefix}/{node}/{source}/status"


def health(prefix: str, node: str, source: str) -> str:
    """Retained: what is wrong with a source and what to do, its level, drift and codec."""
    return f"{prefix}/{node}/{source}/health"


def event(prefix: str, node: str, source: str, label: str) -> str:
    """Not retained: an event."""
    return f"{prefix}/{node}/{source}/events/{label}"


def state(prefix: str, node: str, source: str, label: str) -> str:
    """Retained: ON while the label is heard, else OFF."""
    return f"{prefix}/{node}/{source}/state/{label}"


def gaps(prefix: str, node: str, source: str) -> str:
    """Not retained: a gap."""
    return f"{prefix}/{node}/{source}/gaps"


def scores(prefix: str, node: str, source: str) -> str:
    """Not retained, QoS 0: the top labels of a window."""
    return f"{prefix}/{node}/{source}/scores"


def level(prefix: str, node: str, source: str) -> str:
    """Not retained, QoS 0: the mean level of the last seconds, in dBFS."""
    return f"{prefix}/{node}/{source}/level"


def level_a(prefix: str, node: str, source: str) -> str:
    """Not retained, QoS 0: the A-weighted level of the same time, in dB."""
    return f"{prefix}/{node}/{source}/level_a"


def muted(prefix: str, node: str, source: str) -> str:
    """Retained: ON while nothing of the source is published, else OFF."""
    return f"{prefix}/{node}/{source}/muted"


def command(prefix: str, node: str, name: str) -> str:
    """What others send to us."""
    return f"{prefix}/{node}/command/{name}"


def response(prefix: str, node: str) -> str:
    """Not retained: what was done, or why not, unless a command asks for another topic."""
    return f"{prefix}/{node}/response"


def last_word(topic: str) -> str:
    """What is said on a retained topic before it is cleared: some only see what comes live."""
    if topic.rpartition("/")[0].endswith("/state"):
        return "OFF"
    return "offline" if topic.endswith("/status") else ""
