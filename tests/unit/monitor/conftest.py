"""Fixtures of the monitor's tests."""

from tests.support.stories import story  # noqa: F401 - a fixture of all tests here
