"""Tells the service manager how the service is (sd_notify(3)); nothing where there is none."""

import os
import socket


def notify(state: str) -> None:
    """Send `state`, for example "READY=1"."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A leading @ stands for Linux's abstract namespace.
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        notifier.connect(path)
        notifier.sendall(state.encode())
