"""What the broker has yet to confirm of one kind of packet."""

import asyncio

Confirmation = asyncio.Future[str | None]
"""Holds None once the broker has accepted, or why it refused."""


class Confirmations:
    """By packet identifier, the oldest first."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pending: dict[int, tuple[Confirmation, float]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def deadline(self) -> float | None:
        """When, on the loop's clock, the oldest must have been confirmed."""
        return next(iter(self._pending.values()))[1] if self._pending else None

    def expect(self, packet: int, confirmation: Confirmation) -> None:
        deadline = confirmation.get_loop().time() + self._timeout_s
        self._pending[packet] = confirmation, deadline

    def settle(self, packet: int, refusal: str | None) -> None:
        """The broker has answered."""
        confirmation, _ = self._pending.pop(packet, (None, 0.0))
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(refusal)
