"""Installs the real programs that the peer tests run: ``make peers``.

What is built or fetched by a client of a package registry (Go, npm) goes into a cache outside the
checkout. Debian packages are installed only by root and only in CI (``CI=true``); elsewhere this
says which are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.peers.harness import collector, compose, node

__all__ = ["main"]

#: The program to look for, by the Debian package that has it.
_DEBIAN = {
    "e2fsprogs": "mkfs.ext4",
    "mount": "mount",
    "openssl": "openssl",
    "postgresql": "postgres",
    "prometheus": "prometheus",
    "redis-server": "redis-server",
    "util-linux": "unshare",
}
#: Where programs for root are, which not every path leads to.
_SBIN = ("/usr/sbin", "/sbin")


def main() -> int:
    """Install everything; the exit code tells whether all of it is there now."""
    missing = _debian_packages()
    for name, install in (
        ("OpenTelemetry Collector", collector.install),
        ("compose schema", compose.install),
        ("Node programs", node.install),
    ):
        _say(f"{name}: {install()}")
    if missing:
        _say(f"missing: apt-get install {' '.join(missing)}")
    return 1 if missing else 0


def _debian_packages() -> list[str]:
    """Install what is missing if that is ours to do; what is missing still."""
    if _absent() and os.environ.get("CI") == "true" and os.geteuid() == 0:
        _install(_absent())
    for package in _DEBIAN:
        if package not in _absent():
            _say(f"{package}: {_found(package)}")
    return _absent()


def _absent() -> list[str]:
    return [package for package in _DEBIAN if not _found(package)]


def _found(package: str) -> str | None:
    """Where the package's program is; Debian keeps PostgreSQL's off the path, a version each."""
    places = sorted(map(str, Path("/usr/lib").glob(f"{package}/*/bin")))
    return shutil.which(
        _DEBIAN[package], path=os.pathsep.join([os.environ["PATH"], *_SBIN, *places])
    )


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet=2", *arguments], env=environment, check=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
