"""Which shippers a process has."""

import random

import pytest

from fiveobs import observe_job
from fiveobs.testing import capture
from fiveobs.tracks.logs import LogsDestination


def test_a_track_that_cannot_be_set_up_does_not_stop_the_others(monkeypatch):
    """It is reported; the job is observed, and what the other tracks send arrives."""

    def refuse(self, config):
        raise RuntimeError("no such library")

    monkeypatch.setattr(LogsDestination, "__init__", refuse)
    with capture() as captured:
        assert observe_job("job")(lambda: 7)() == 7
        assert [span["name"] for span in captured.spans] == ["job"]
        assert any("no such library" in problem for problem in captured.problems)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_applications_chance_is_not_ours(is_broken):
    """A seeded ``random`` gives the same numbers, also while deliveries fail and are repeated."""
    random.seed(7)
    expected = [random.random() for _ in range(5)]
    random.seed(7)
    with capture(broken={"logs"} if is_broken else set()) as captured:
        observe_job("job")(lambda: 7)()
        captured.wait_for(lambda found: not is_broken or found.problems)
        assert [random.random() for _ in range(5)] == expected
