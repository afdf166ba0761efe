"""The reference page and the table of settings say the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from fiveobs._settings import SETTINGS

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGE = REFERENCE / "configuration.md"


def test_every_variable_is_on_the_page_and_no_other():
    """The page names exactly the variables that are read."""
    read = {name for setting in SETTINGS for name in setting.env}
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)", PAGE.read_text(encoding="utf-8")))
    assert named == read


def test_every_setting_is_on_the_page():
    """The page has a row for each argument of configure()."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [setting.attr for setting in SETTINGS]


def test_the_page_is_what_the_generator_makes():
    """Nobody has to remember to run the generator: this fails until it was run."""
    page = runpy.run_path(str(REFERENCE / "generate.py"))["page"]
    assert PAGE.read_text(encoding="utf-8") == page()
