"""What stands in for a connection: keeps what a destination would send, or fails as it is told."""

from __future__ import annotations

import threading
from typing import Any

from fiveobs.exceptions import DeliveryError


class MemorySender:
    """Takes a track's deliveries; used by that track's shipper thread.

    Args:
        track: The track's name.
        changed: Notified of every delivery.
    """

    def __init__(self, track: str, changed: threading.Condition) -> None:
        self.track = track
        #: What was sent, as it was handed to the sender: bytes, or a list of records.
        self.payloads: list[Any] = []
        #: Deliveries that were tried.
        self.attempts = 0
        self.is_broken = False
        self.is_refusing = False
        self._delay_s = 0.0
        self._changed = changed
        #: Set to end a delay that is under way.
        self._hurried = threading.Event()
        self._is_over = False

    def put_into(self, destination: Any, config: Any) -> None:
        """Have a destination send here."""
        if self.track == "logs":
            destination._way = self._way(config)
        else:
            destination._sender = self

    def _way(self, config: Any) -> Any:
        from fiveobs.tracks.logs import _WAYS

        if config.fluent_bit_protocol == "stdout":
            return self
        way: Any = _WAYS[config.fluent_bit_protocol](config)
        way._sender = self
        return way

    def send(self, payload: Any, timeout_s: float) -> int:
        """Take one delivery; how many of its records were rejected: none."""
        self.attempts += 1
        self._delay(timeout_s)
        if self.is_refusing:
            raise DeliveryError(f"{self.track}: refused, as the test asks", permanent=True)
        if self.is_broken:
            raise DeliveryError(f"{self.track}: broken, as the test asks")
        with self._changed:
            if not self._is_over:
                self.payloads.append(payload)
            self._changed.notify_all()
        return 0

    def _delay(self, timeout_s: float) -> None:
        delay_s = self._delay_s
        if not delay_s or self._hurried.wait(min(delay_s, timeout_s)):
            return
        if delay_s > timeout_s:
            raise DeliveryError(f"{self.track}: took longer than {timeout_s:g} s")

    def slow_down(self, delay_s: float) -> None:
        """Take this long for each delivery from now on."""
        self._hurried.clear()
        self._delay_s = delay_s

    def repair(self) -> None:
        """Work from now on, at once."""
        self.is_broken = self.is_refusing = False
        self._delay_s = 0.0
        self._hurried.set()

    def release(self) -> None:
        """Work and keep nothing more: the capture is ending."""
        self._is_over = True
        self.repair()

    def close(self) -> None:
        """There is no connection to give up."""
