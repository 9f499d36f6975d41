"""The lookup of a host name, in a thread that nothing waits for.

The thread pool of an event loop would do, but a process does not end before that pool's threads
do: a name server that keeps silent would hold up a stop for half a minute.
"""

import asyncio
import contextlib
import socket
import threading


async def look_up(host: str, port: int, timeout_s: float) -> None:
    """Have the name service look the host up, so that whoever connects next finds the answer.

    Raises:
        OSError: there is no such host.
        UnicodeError: it is no name of a host.
        TimeoutError: there is no answer.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[OSError | UnicodeError | None] = loop.create_future()

    def settle(error: OSError | UnicodeError | None) -> None:
        if not found.done():
            found.set_result(error)

    def ask() -> None:
        error = None
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            error = problem
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=ask, name="mqtt lookup", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        error = await found
    if error is not None:
        raise error
