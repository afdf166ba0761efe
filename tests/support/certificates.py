"""A certificate for 127.0.0.1, made on the spot, so that none in the tree can expire."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

from tests.support.base import HOST

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_certificate", "server_context"]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key with ``openssl``; return both paths.

    The certificate is its own authority: a client trusts it by naming its file.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *subject, *files], check=True, capture_output=True
    )
    return certificate, key


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS context for a receiver's ``tls``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
