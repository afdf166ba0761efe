"""Makes the OTLP sender that the settings of a signal describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fiveobs.tracks._otlp import OtlpSender, response_type

if TYPE_CHECKING:
    from fiveobs._config import Config


def otlp_sender(signal: Literal["traces", "metrics"], config: Config) -> OtlpSender:
    """A sender for the signal; its destination must be configured."""

    def setting(name: str) -> Any:
        return getattr(config, f"{signal}_{name}")

    response_type(signal)  # loaded now: the caller sees to it that no fork comes in between
    return OtlpSender(
        signal,
        setting("endpoint"),
        setting("protocol"),
        headers=setting("headers"),
        compression=setting("compression"),
        insecure=setting("insecure"),
        certificate=setting("certificate"),
        client_key=setting("client_key"),
        client_certificate=setting("client_certificate"),
    )
