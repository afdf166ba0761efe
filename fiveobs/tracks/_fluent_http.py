"""Posts batches of log lines to Fluent Bit's HTTP input.

Fluent Bit takes an array of objects as ``application/json`` (not ``application/x-ndjson``) and
reads the tag from the path. One thread uses a sender; it must not cross a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._http import HttpPoster, excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FluentHttpSender"]

#: Fluent Bit answers 400 to ``application/x-ndjson``.
CONTENT_TYPE: Final = {"Content-Type": "application/json"}


class FluentHttpSender:
    """Sends batches of JSON lines to one HTTP input.

    Args:
        host: Name or address of Fluent Bit, IPv4 or IPv6.
        port: Port of its ``http`` input (9880, as a rule).
        tag: The tag that the lines get there.
        tls: Whether to speak HTTPS.
        tls_verify: Whether the server must prove who it is.
        tls_ca: File or folder of the CA certificates to trust; ``None`` for the usual ones.
        headers: Further fields to send, for a proxy in front that asks for credentials.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tag: str,
        *,
        tls: bool = False,
        tls_verify: bool = True,
        tls_ca: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        self._poster = HttpPoster(
            f"{'https' if tls else 'http'}://{name}:{port}/{quote(tag, safe='')}",
            headers,
            tls_verify=tls_verify,
            certificate=tls_ca,
        )

    def send(self, lines: Sequence[bytes], timeout_s: float) -> int:
        """Post lines, each a JSON object, as one array. Blocks for at most ``timeout_s``.

        Returns:
            Zero: this input takes a batch whole or not at all.

        Raises:
            DeliveryError: The batch was not taken.
        """
        if lines:
            body = b"[" + b",".join(lines) + b"]"
            answer = self._poster.post(body, CONTENT_TYPE, timeout_s)
            self._poster.check(answer)
            if answer.body.lstrip().startswith(b"<"):
                # A proxy or a login form; inputs answer with nothing, a word or a picture.
                message = f"{self._poster.where} answered {answer.status} with a web page"
                raise DeliveryError(f"{message}; it said: {excerpt(answer.body, 80)}")
        return 0

    def close(self) -> None:
        """Drop the connection; a later send opens another. Does not block."""
        self._poster.close()
