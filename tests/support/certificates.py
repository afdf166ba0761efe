"""A certificate for 127.0.0.1, made on the spot, so that none in the tree can expire."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

from tests.support.base import HOST

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_certificate", "make_expired_certificate", "server_context"]

#: What ``openssl ca`` needs to be told, which alone can make certificates of the past.
_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = {names}
"""
_OURS = f"IP:{HOST},DNS:localhost"


def make_certificate(folder: Path, names: str = _OURS) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key with ``openssl``; return both paths.

    The certificate is its own authority: a client trusts it by naming its file.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName={names}"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *subject, *files], check=True, capture_output=True
    )
    return certificate, key


def make_expired_certificate(folder: Path) -> tuple[Path, Path]:
    """The same, of a certificate that was valid for a day in 2020."""
    certificate, key, request = folder / "expired.pem", folder / "key.pem", folder / "request.pem"
    settings = folder / "authority.cnf"
    settings.write_text(_AUTHORITY.format(folder=folder, names=_OURS))
    (folder / "index").touch()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    wanted = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request)]
    when = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    files = ["-keyfile", str(key), "-in", str(request), "-out", str(certificate)]
    for command in (
        ["openssl", "req", "-new", *curve, *wanted],
        [
            "openssl",
            "ca",
            "-batch",
            "-notext",
            "-selfsign",
            "-config",
            str(settings),
            *when,
            *files,
        ],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS context for a receiver's ``tls``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
