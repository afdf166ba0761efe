"""The rules that the documentation shows can be applied."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fiveobs.monitor.rules.models import Rule
from fiveobs.monitor.rules.reading import read_rules
from fiveobs.monitor.rules.trying import try_event

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "howto" / "workflow-rules.md", DOCS / "reference" / "rules.md")
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]


def rules_of(block: str) -> list[dict[str, Any]]:
    """Those of a block; what shows a part is completed with the rest of a rule."""
    rest = {"name": "r", "on": "job.*", "then": [{"webhook": {"url": "https://example.com/"}}]}
    return [{**rest, **each} for each in read_rules(block)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0])
def test_the_rules_of_a_page_can_be_used(block: str) -> None:
    """Each is read, checked and tried on an event, and nothing in it is wrong."""
    for written in rules_of(block):
        rule = Rule.model_validate(written)
        found = try_event(rule, {"event_type": "job.failed", "job_id": "j", "data": {}})
        assert found.looked_at == 1


def test_the_first_rule_does_what_the_page_says() -> None:
    """A report that has failed for the third time is told about; another one is not."""
    (written,) = rules_of(BLOCKS[0])
    rule = Rule.model_validate(written)
    event = {"event_type": "job.failed", "service": "reports", "attempt": 3, "data": {}}
    assert try_event(rule, event).events[0].outcome == "fires"
    assert try_event(rule, {**event, "attempt": 2}).matched == 0
