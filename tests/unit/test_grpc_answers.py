"""What gRPC makes of answers that no gRPC server gives, and what the OTLP sender makes of that."""

from __future__ import annotations

import contextlib

import pytest

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._otlp import OtlpSender
from tests.support.grpc_answers import ANSWERS, _head, grpc_answer
from tests.support.proxy import Proxy


def _refused(frames: bytes) -> DeliveryError:
    with Proxy(1, grpc_answer(frames)) as peer:
        sender = OtlpSender("traces", peer.endpoint, "grpc")
        with contextlib.closing(sender), pytest.raises(DeliveryError) as caught:
            sender.send(b"", 5.0)
    return caught.value


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_not_grpcs_refuses_nothing_for_good(kind: str) -> None:
    """It comes from a proxy, or a server that fell over: the batch is kept."""
    assert not _refused(ANSWERS[kind]).permanent


@pytest.mark.parametrize("kind", ["no message", "half a message", "another message"])
def test_a_success_without_a_whole_message_is_not_believed(kind: str) -> None:
    """The message says what was rejected; without it nothing is known to be taken."""
    assert "answered, but not in OTLP" in str(_refused(ANSWERS[kind]))


def test_a_proxy_that_finds_a_batch_too_large_is_final() -> None:
    """HTTP's 413 is: the batch is halved, as no waiting makes it smaller."""
    assert _refused(_head(413, "text/html", end=True)).permanent
