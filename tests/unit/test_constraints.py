"""``constraints.txt``: the exact versions that CI tests with."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.programs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PAIRS = [line.split("==") for line in LINES if not line.startswith("#")]
PINNED = {canonicalize_name(name): version for name, version in PAIRS}
#: The groups of what CI installs under these constraints: the benchmarks have bounds of their own.
GROUPS = ("test", "peers", "check", "build")


def requirements() -> list[Requirement]:
    """What the project and its groups ask for by name."""
    project: dict[str, Any] = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    groups = [PROJECT["dependency-groups"][name] for name in GROUPS]
    asked = [*project["dependencies"], *(each for part in (*extras, *groups) for each in part)]
    found = [Requirement(each) for each in asked if isinstance(each, str)]
    return [each for each in found if each.name != "fiveobs"]


@pytest.mark.parametrize("asked", requirements(), ids=str)
def test_each_direct_dependency_is_held_to_one_version_within_its_bounds(
    asked: Requirement,
) -> None:
    """Else CI would test something that nobody is asked to install, or whatever is newest."""
    version = PINNED[canonicalize_name(asked.name)]
    assert asked.specifier.contains(version)


def test_no_line_names_an_address() -> None:
    """Names and versions only: where packages come from is the affair of whoever installs."""
    for line in LINES:
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.+!]+", line), line


def test_ci_installs_with_them() -> None:
    """``.ci/run`` hands them to make, and make to pip, but not for the benchmarks' environment."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(addprefix -c ,$(CONSTRAINTS))" in makefile
    script = ROOT / ".ci" / "run"
    if script.exists():  # a source distribution has none
        assert "export CONSTRAINTS=${CONSTRAINTS-$PWD/constraints.txt}" in script.read_text()
