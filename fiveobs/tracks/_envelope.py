"""Posts Sentry envelopes to the endpoint that a DSN names.

Address and authorization come from the Sentry SDK's own reading of the DSN; waiting after a rate
limit follows https://develop.sentry.dev/sdk/expected-features/rate-limiting/. One thread uses a
sender; it must not cross a fork.
"""

from __future__ import annotations

import gzip
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from sentry_sdk.envelope import Envelope
from sentry_sdk.utils import BadDsn, Dsn

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._http import USER_AGENT, HttpPoster, excerpt, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from fiveobs.tracks._http import HttpAnswer

__all__ = ["EnvelopeSender"]

#: How long to wait where Sentry limits us and does not say for how long.
DEFAULT_RATE_LIMIT_S: Final = 60.0
#: Fast, and near enough to the best for JSON.
GZIP_LEVEL: Final = 5


class EnvelopeSender:
    """Sends serialized envelopes to one Sentry project.

    Args:
        dsn: The project's DSN.

    Raises:
        DeliveryError: ``dsn`` is none.
    """

    def __init__(self, dsn: str) -> None:
        try:
            auth = Dsn(dsn).to_auth(USER_AGENT)
        except (BadDsn, ValueError) as exc:
            message = "the Sentry DSN cannot be used; write https://key@host/project"
            raise DeliveryError(message) from exc
        self._poster = HttpPoster(
            auth.get_api_url(),
            {
                "X-Sentry-Auth": auth.to_header(),
                "Content-Type": "application/x-sentry-envelope",
                "Content-Encoding": "gzip",
            },
        )

    def send(self, envelope: bytes, timeout_s: float) -> int:
        """Post one envelope. Blocks for at most ``timeout_s``.

        Returns:
            Zero: Sentry takes an envelope whole or says nothing about its parts.

        Raises:
            DeliveryError: The envelope was not taken.
        """
        answer = self._poster.post(gzip.compress(envelope, GZIP_LEVEL, mtime=0), {}, timeout_s)
        try:
            self._poster.check(answer)
        except DeliveryError as exc:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                exc.retry_after_s = _wait_s(answer, envelope)
            raise
        if _is_foreign(answer.body):
            said = excerpt(answer.body, 80)
            message = f"{self._poster.where} answered {answer.status}, but not as Sentry does"
            raise DeliveryError(f"{message}; check the DSN; it said: {said}")
        return 0

    def close(self) -> None:
        """Drop the connection; a later send opens another. Does not block."""
        self._poster.close()


def _is_foreign(body: bytes) -> bool:
    """Whether a success is a web page or no text: a proxy or a login form, which took nothing."""
    try:
        return body.decode().lstrip().startswith("<")
    except UnicodeDecodeError:
        return True


def _wait_s(answer: HttpAnswer, envelope: bytes) -> float:
    """Return how long a rate limit lasts for the kinds of item in an envelope, at most an hour."""
    limits = list(_limits(answer.headers.get("X-Sentry-Rate-Limits", "")))
    ours = _categories(envelope)
    waits_s = [wait_s for wait_s, kinds in limits if not kinds or kinds & ours]
    if waits_s or limits:
        return max(waits_s or [wait_s for wait_s, _ in limits])
    wait_s = retry_after_s(answer.headers.get("Retry-After"))
    return DEFAULT_RATE_LIMIT_S if wait_s is None else wait_s


def _limits(header: str) -> Iterator[tuple[float, AbstractSet[str]]]:
    """Yield each limit's length in seconds and the kinds it holds for (none named: all)."""
    for limit in header.split(","):
        seconds, _, rest = limit.strip().partition(":")
        wait_s = retry_after_s(seconds)
        if wait_s is not None:
            yield wait_s, set(filter(None, rest.partition(":")[0].split(";")))


def _categories(envelope: bytes) -> AbstractSet[str]:
    try:
        return {item.data_category for item in Envelope.deserialize(envelope).items}
    except Exception:
        return {"error"}
