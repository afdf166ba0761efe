"""Compose's own loader: with this code ``docker compose`` reads, interpolates and checks a file.

It is a Go library; a program of a few lines around it is built into the cache once. It validates
against the compose schema, then decodes every value and follows every reference, and prints the
project as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.peers.harness.go import find_go, go_environment
from tests.peers.harness.program import CACHE, absent

__all__ = ["ComposeError", "install", "load"]

_MODULE = "github.com/compose-spec/compose-go/v2"
_VERSION = "v2.16.2"
#: Reads ``.env`` beside the file as compose does, and not the environment of whoever runs it.
_SOURCE = """\
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:],
		cli.WithWorkingDirectory("."), cli.WithEnvFiles(), cli.WithDotEnv)
	if err == nil {
		var project any
		if project, err = options.LoadProject(context.Background()); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(project)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""
_KEY = hashlib.sha256((_VERSION + _SOURCE).encode()).hexdigest()[:16]
_BINARY = CACHE / "compose" / _KEY / "compose-load"
_BUILD_TIMEOUT_S = 600.0
_LOAD_TIMEOUT_S = 60.0


class ComposeError(Exception):
    """Compose does not take the file; the message is its own."""


def install() -> Path:
    """Build the program unless it is there; its path. Needs Go and, the first time, the network."""
    if not _BINARY.exists():
        go = find_go()
        folder = _BINARY.parent / "source"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "main.go").write_text(_SOURCE, encoding="utf-8")
        _run(go, folder, "mod", "init", "compose-load")
        _run(go, folder, "get", f"{_MODULE}/cli@{_VERSION}")
        _run(go, folder, "build", "-o", "built", ".")
        (folder / "built").replace(_BINARY)
    return _BINARY


def load(folder: Path, name: str = "docker-compose.yaml") -> dict[str, Any]:
    """The project that compose makes of a file and of the ``.env`` beside it.

    Raises:
        ComposeError: The file is not valid.
    """
    if not _BINARY.exists():
        absent("compose's loader", "make peers")
    done = subprocess.run(
        [_BINARY, name],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=_LOAD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ComposeError(done.stderr.strip())
    project: dict[str, Any] = json.loads(done.stdout)
    return project


def _run(go: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [go, *arguments],
        cwd=folder,
        env=go_environment(go, GOFLAGS="-buildvcs=false -mod=mod", GO111MODULE="on"),
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)}: {done.stderr.strip()}")
