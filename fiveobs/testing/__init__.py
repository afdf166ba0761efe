"""For tests: observe jobs in isolation, without a network, and look at what each track sent.

::

    from fiveobs.testing import capture

    def test_resize():
        with capture() as captured:
            resize("cat.png")
        job = captured.job()
        assert job.status == "completed"
        captured.ids_agree(job.job_id)

Everything up to the wire is the real thing: the journal, the shippers, the encoders. Only the
connections are replaced, by memory. With pytest there is the fixture ``fiveobs_capture``.

Not for production: a capture changes the process's environment and its one pipeline while it lasts.
"""

from __future__ import annotations

from fiveobs.testing._capture import capture
from fiveobs.testing._captured import Captured
from fiveobs.testing._clock import FakeClock
from fiveobs.testing._job import CapturedJob
from fiveobs.testing._tracks import BrokenTrack, RecordingTrack, SlowTrack

__all__ = [
    "BrokenTrack",
    "Captured",
    "CapturedJob",
    "FakeClock",
    "RecordingTrack",
    "SlowTrack",
    "capture",
]
