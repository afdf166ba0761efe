"""Signs deliveries by the Standard Webhooks scheme, version 1.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
Signed is ``<webhook-id>.<webhook-timestamp>.<body>``, with HMAC-SHA256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

__all__ = ["message_id", "new_secret", "signature"]

_PREFIX = "whsec_"
#: The scheme asks for 24 to 64.
_SECRET_BYTES = 32


def new_secret() -> str:
    """A secret as receivers' libraries take it: ``whsec_`` and base 64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def message_id(subscription_id: str, event_id: str) -> str:
    """The same for every try of one event for one subscription, also after a restart."""
    digest = hashlib.sha256(f"{subscription_id} {event_id}".encode("utf-8", "replace"))
    return f"msg_{digest.hexdigest()[:32]}"


def signature(secret: str, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of ``webhook-signature``.

    Args:
        secret: As `new_secret` gives it.
        webhook_id: The value of ``webhook-id``.
        timestamp_s: The value of ``webhook-timestamp``: seconds since 1970.
        body: What is sent, byte for byte.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
