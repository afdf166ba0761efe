"""Building the Collector and compose's loader: what it says when it cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness import collector, compose, go

pytestmark = pytest.mark.peer


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs that comes first, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(collector, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(compose, "_BINARY", tmp_path / "cache" / "compose-load")
    return folder


@pytest.mark.parametrize("built", [collector, compose])
def test_a_go_that_is_too_old_is_named(bin_folder: Path, built: Any) -> None:
    """The message has the version that is there and the one that is needed."""
    program(bin_folder, "go", "echo go version go1.21.4 linux/amd64")
    with pytest.raises(RuntimeError, match=r"Go 1\.26 or later is needed.*go1\.21\.4"):
        built.install()


def test_the_go_of_its_own_installer_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no path leads to it, compose's loader is built with it, too."""
    usual = tmp_path / "usual"
    usual.mkdir()
    made = 'case $1 in version) echo "go version go1.99.0";; build) echo made > built;; esac'
    program(usual, "go", made)
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    monkeypatch.setenv("PATH", str(nowhere))
    monkeypatch.setattr(go, "_USUAL_FOLDER", str(usual))
    assert compose.install().read_text() == "made\n"


def test_a_failed_build_leaves_nothing_behind(bin_folder: Path, tmp_path: Path) -> None:
    """The message has the end of the build's output, and the next run begins anew."""
    program(
        bin_folder,
        "go",
        'case $1 in version) echo "go version go1.99.0";; *) echo no such module; exit 1;; esac',
    )
    with pytest.raises(RuntimeError, match="no such module"):
        collector.install()
    assert [path.suffix for path in (tmp_path / "cache" / "otelcol").iterdir()] == [".lock"]


def test_what_was_built_is_used_again(bin_folder: Path, tmp_path: Path) -> None:
    """Go is asked once; the builder's folder is then found under the manifest's own name."""
    built = tmp_path / "built"
    builder = (
        f"#!{sys.executable}\nimport os, pathlib\n"
        "folder = pathlib.Path(os.environ['dist.output_path'])\n"
        "folder.mkdir()\n(folder / 'otelcol-fiveobs').touch()\n"
    )
    (tmp_path / "builder").write_text(builder)
    install = f'echo built >> {built}; cp {tmp_path}/builder "$GOBIN/"; chmod +x "$GOBIN/builder"'
    program(
        bin_folder, "go", f'case $1 in version) echo "go version go1.99.0";; *) {install};; esac'
    )
    first = collector.install()
    assert first.exists()
    assert collector.install() == first
    assert built.read_text() == "built\n"
