"""File systems of a test's own, in a mount namespace that ends with the process that holds it.

Nothing is mounted where anybody else could see it: a holder process mounts, workers are run inside
by ``nsenter``, and the test reads through ``/proc/<pid>/root``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

import pytest

__all__ = ["SmallDisk"]

#: Where root may write nothing of its own, the test is not for this machine.
_NEEDS = "needs a mount namespace, and nsenter and unshare of util-linux"


class SmallDisk:
    """A mounted file system on ``home``, as a context manager.

    Args:
        home: Where it is mounted, inside only.
        options: For ``mount``, such as ``size=256k``.
        image: A file with an ext4 file system; without one it is a tmpfs.
    """

    def __init__(self, home: Path, options: str, *, image: Path | None = None) -> None:
        self._home = home
        what = f"-o loop,{options} {image}" if image else f"-t tmpfs -o {options} none"
        self._script = f"mount {what} {home} && echo mounted && read end"
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        flags = "-m" if os.getuid() == 0 else "-Urm"
        try:
            self._holder = subprocess.Popen(
                ["unshare", flags, "sh", "-c", self._script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip(_NEEDS)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, said = self._holder.communicate()
            pytest.skip(f"{_NEEDS}: {said.strip()}")
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._holder is not None:
            self._holder.communicate("\n")

    @property
    def prefix(self) -> list[str]:
        """The command that runs another one inside."""
        assert self._holder is not None
        flags = ["-m"] if os.getuid() == 0 else ["-U", "-m", "--preserve-credentials"]
        return ["nsenter", "-t", str(self._holder.pid), *flags, "--"]

    @property
    def home(self) -> Path:
        """The mounted folder, as it is reached from outside."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{self._home}")

    def fill(self, name: str = "filler") -> None:
        """Take all the room there is, to the last byte."""
        with (self.home / name).open("ab", buffering=0) as file:
            for size_bytes in (65536, 512, 1):
                try:
                    while file.write(b"\0" * size_bytes):
                        pass
                except OSError:
                    continue

    def free(self, name: str = "filler") -> None:
        """Give the room back."""
        (self.home / name).unlink()
