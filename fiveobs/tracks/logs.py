"""The logs track: events and log lines on their way to Fluent Bit.

Reads every journal line that is an event; sends it by Fluent Forward with acknowledgement, by HTTP,
or writes it to standard output. With no destination the lines stay in the journal, where Fluent
Bit can tail them. Used by one shipper thread.
"""

from __future__ import annotations

import base64
import calendar
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from fiveobs._loading import loading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fiveobs._config import Config


class LogsDestination:
    """Sends journal lines where ``FLUENT_BIT_*`` says."""

    max_records = 512
    max_bytes = 1024 * 1024

    def __init__(self, config: Config) -> None:
        self._config = config
        self._way: _Way | None = None

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        """Send one batch; the number of lines that were not usable or were rejected."""
        if self._way is None:
            with loading:
                self._way = _WAYS[self._config.fluent_bit_protocol](self._config)
        return self._way.send(lines, timeout_s)

    def close(self) -> None:
        """Give up the connection."""
        if self._way is not None:
            self._way.close()


class _Way(Protocol):
    def __init__(self, config: Config) -> None: ...

    def send(self, lines: list[bytes], timeout_s: float) -> int: ...

    def close(self) -> None: ...


class _Forward:
    """Fluent Forward: each batch is acknowledged."""

    def __init__(self, config: Config) -> None:
        from fiveobs.tracks._forward import ForwardSender

        self._sender = ForwardSender(
            config.fluent_bit_host,
            config.fluent_bit_port,
            config.fluent_bit_tag,
            shared_key=config.fluent_bit_shared_key,
            username=config.fluent_bit_username,
            password=config.fluent_bit_password,
            tls=config.fluent_bit_tls,
            tls_verify=config.fluent_bit_tls_verify,
            tls_ca=_path(config.fluent_bit_tls_ca),
        )
        self.close = self._sender.close

    def send(self, lines: list[bytes], timeout_s: float) -> int:
        usable = _Parsed(lines)
        unsendable = self._sender.send(usable, timeout_s)
        return usable.unusable + unsendable


class _Parsed:
    """The records of lines, one at a time, each with its time in ns."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        #: Lines that were no record, so far.
        self.unusable = 0

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, object]]]:
        for line in self._lines:
            try:
                record = orjson.loads(line)
                at_ns = time_ns_of(record["timestamp"])
            except (ValueError, KeyError, TypeError):
                self.unusable += 1
            else:
                yield at_ns, record


class _Http:
    """Fluent Bit's HTTP input."""

    def __init__(self, config: Config) -> None:
        from fiveobs.tracks._fluent_http import FluentHttpSender

        self._sender = FluentHttpSender(
            config.fluent_bit_host,
            config.fluent_bit_port,
            config.fluent_bit_tag,
            tls=config.fluent_bit_tls,
            tls_verify=config.fluent_bit_tls_verify,
            tls_ca=_path(config.fluent_bit_tls_ca),
            headers=_authorization(config.fluent_bit_username, config.fluent_bit_password),
        )
        self.close = self._sender.close

    def send(self, lines: list[bytes], timeout_s: float) -> int:
        return self._sender.send(lines, timeout_s)


class _Stdout:
    """Standard output, for a container's log collector."""

    def __init__(self, config: Config) -> None:
        pass

    def send(self, lines: list[bytes], timeout_s: float) -> int:
        if sys.stdout is not None:  # what the application has printed comes first
            sys.stdout.flush()
        content = memoryview(b"\n".join(lines) + b"\n")
        while content:
            content = content[os.write(1, content) :]
        return 0

    def close(self) -> None:
        pass


_WAYS: dict[str, type[_Way]] = {"forward": _Forward, "http": _Http, "stdout": _Stdout}


def _authorization(username: str | None, password: str | None) -> dict[str, str]:
    """HTTP's basic authentication (RFC 7617), if there is somebody to name."""
    if username is None and password is None:
        return {}
    pair = f"{username or ''}:{password or ''}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def time_ns_of(timestamp: str) -> int:
    """Nanoseconds since 1970 of a record's timestamp (RFC 3339, UTC, microseconds)."""
    return _second_ns(timestamp[:19]) + int(timestamp[20:26]) * 1000


@functools.lru_cache(maxsize=64)
def _second_ns(text: str) -> int:
    # Not strptime: it loads a module at its first use, and a fork may come in between.
    day, clock = text[:10].split("-"), text[11:].split(":")
    return calendar.timegm(tuple(map(int, [*day, *clock]))) * 1_000_000_000
