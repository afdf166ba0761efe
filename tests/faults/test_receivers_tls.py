"""Certificates that must not be trusted: nothing is sent, nothing is lost."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, Wiring
from tests.support.certificates import make_certificate, make_expired_certificate, server_context

JOBS = 50
ELSEWHERE = "DNS:elsewhere.example"


def _made(tmp_path: Path, kind: str) -> tuple[tuple[Path, Path], tuple[Path, Path], Path]:
    """A wrong certificate, a right one, and the file of the authorities that are trusted."""
    folders = [tmp_path / name for name in ("wrong", "right")]
    for folder in folders:
        folder.mkdir()
    right = make_certificate(folders[1])
    if kind == "expired":
        wrong = make_expired_certificate(folders[0])
    else:
        names = {"names": ELSEWHERE} if kind == "another host's" else {}
        wrong = make_certificate(folders[0], **names)
    trusted = tmp_path / "authorities.pem"
    authorities = [right[0]] if kind == "unknown authority's" else [right[0], wrong[0]]
    trusted.write_text("".join(each.read_text() for each in authorities))
    return wrong, right, trusted


def _context(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = server_context(*files)
    context.set_alpn_protocols(["h2", "http/1.1"])  # gRPC insists on the first
    return context


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["expired", "another host's", "unknown authority's"])
def test_a_wrong_certificate_gets_nothing_and_loses_nothing(
    kind: str, protocol: str, fiveobs_home: Path, tmp_path: Path
) -> None:
    """No track sends a byte to it; with the right certificate everything arrives."""
    wrong, right, trusted = _made(tmp_path, kind)
    trust = {
        "FLUENT_BIT_TLS_CA": str(trusted),
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(trusted),
        "REQUESTS_CA_BUNDLE": str(trusted),
    }
    with Wiring(protocol, fiveobs_home, tls=_context(wrong)) as there:
        with there.worker(**trust) as worker:
            worker.run(JOBS)
            worker.wait_until_failing()
            for receiver in (there.otlp, there.logs, there.sentry):
                assert not receiver.counts["connections"] + receiver.counts["grpc_calls"]
            for proxy in there.proxies.values():
                proxy.present(_context(right))
            worker.run(JOBS)
            assert worker.flush(ANSWER_S), worker.health()
            assert worker.end() < MARGIN_S
        sums = there.check()
    assert sums["traces"].held == 2 * JOBS
