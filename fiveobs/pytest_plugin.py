"""The pytest plugin: the fixture ``fiveobs_capture`` and the marker ``fiveobs``.

Loaded by pytest itself wherever fiveobs is installed. Until a test asks for the fixture it loads no
third party but pytest, and starts nothing. Each test has a home of its own, so tests may run in
parallel processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fiveobs.testing import Captured

_MARKER = (
    "fiveobs(**options): options of fiveobs.testing.capture for the fixture fiveobs_capture, for "
    "example sequential_ids=True, broken={'logs'} or any setting of configure(); a nearer marker "
    "wins over one on the class or module"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def fiveobs_capture(request: pytest.FixtureRequest) -> Iterator[Captured]:
    """What the five tracks send in this test: a ``fiveobs.testing.Captured``."""
    from fiveobs.testing import capture  # whoever does not use it does not pay for it

    options: dict[str, object] = {}
    for marker in reversed(list(request.node.iter_markers("fiveobs"))):
        if marker.args:
            raise pytest.UsageError(f"the marker fiveobs takes keywords only, not {marker.args!r}")
        options |= marker.kwargs
    with capture(**options) as captured:  # type: ignore[arg-type]
        yield captured
