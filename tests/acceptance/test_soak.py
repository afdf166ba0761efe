"""A long life: a million jobs in one process. Slow; run by hand and at night."""

from __future__ import annotations

import pytest

from tests.support import workers
from tests.support.process import ReceiverProcess

JOBS = 1_000_000
EVERY = 50_000
#: Files that a journal of the size below has at most, but for the first.
SEGMENTS = 4


@pytest.mark.slow
@pytest.mark.parametrize("is_configured", [False, True], ids=["journal only", "all tracks"])
def test_a_million_jobs_leave_nothing_behind(*, is_configured: bool) -> None:
    """Memory stays within 5% of what it was after 10,000 jobs; descriptors and threads stay."""
    settings = {"FIVEOBS_JOURNAL_MAX_BYTES": "64MiB"}
    with ReceiverProcess("otlp", "forward", "sentry") as there:
        if is_configured:
            settings |= {
                "FLUENT_BIT_HOST": "127.0.0.1",
                "FLUENT_BIT_PORT": str(there.addresses["forward"]["port"]),
                "OTEL_EXPORTER_OTLP_ENDPOINT": there.addresses["otlp"]["endpoint"],
                "SENTRY_DSN": there.addresses["sentry"]["dsn"],
            }
        figures = workers.run("many_jobs", JOBS, EVERY, settings=settings, timeout_s=1800.0)
    shown = "\n".join(map(str, figures))
    first, last = figures[0], figures[-1]
    assert last["jobs"] == JOBS
    assert last["rss_bytes"] < first["rss_bytes"] * 1.05, shown
    assert last["fds"] <= first["fds"] + SEGMENTS, shown  # each may be open for reading
    assert last["threads"] == first["threads"], shown
