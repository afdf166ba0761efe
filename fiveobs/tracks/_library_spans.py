"""Spans that the application and its libraries make, where we set up the ``TracerProvider``.

The provider is made once and cannot be replaced, also not in a forked child, so it holds nothing:
each span finds the process's present pipeline. In a job that is not sampled spans are recorded all
the same, and wait for the job's end.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from fiveobs import _context
from fiveobs._ids import IdSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from fiveobs._config import Config
    from fiveobs._job import Job
    from fiveobs.tracks.traces import TracesTrack

_provider: Any = None
#: The present pipeline's track and ids; set by each pipeline, so that a child has its own.
_track: TracesTrack | None = None
_ids: IdSource | None = None
#: Whose those are, and what makes a forked child's own.
_pid = 0
_revive: Callable[[], object] | None = None
#: Jobs of spans that have not ended, by span id. Bounded: a span that never ends is forgotten.
_jobs: dict[int, Job] = {}
_MAX_OPEN = 10_000


def is_ours(provider: object) -> bool:
    """Whether a provider is the one that we set up."""
    return provider is not None and provider is _provider


def connect(
    track: TracesTrack | None,
    ids: IdSource | None,
    revive: Callable[[], object] | None = None,
) -> None:
    """Tell where spans go from now on.

    Args:
        track: Takes them; ``None`` for nowhere.
        ids: Mints their ids.
        revive: Has a forked child connect what is its own.
    """
    global _track, _ids, _pid, _revive  # the provider outlives pipelines
    _track, _ids, _revive = track, ids, revive
    _pid = os.getpid()
    _jobs.clear()


def _present_ids() -> IdSource:
    if _pid != os.getpid() and _revive is not None:
        _revive()
    return _ids if _ids is not None and _pid == os.getpid() else _ids_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _ids_of(pid: int) -> IdSource:
    return IdSource()


def install(config: Config) -> None:
    """Set up the process's ``TracerProvider``, once."""
    global _provider
    if _provider is not None:
        return
    from opentelemetry import trace

    from fiveobs.tracks._provider import make_provider

    _provider = make_provider(config, _minted, _started, _ended, _is_in_share)
    trace.set_tracer_provider(_provider)


def _minted(kind: str) -> str:
    return getattr(_present_ids(), kind)()  # type: ignore[no-any-return]


def _is_in_share(trace_id: str) -> bool:
    return _track is None or _track.is_in_share(trace_id)


def _started(span_id: int) -> None:
    job = _context.present()
    if job is not None and len(_jobs) < _MAX_OPEN:
        _jobs[span_id] = job


def _ended(span_id: int, is_sampled: bool, record: Callable[[], dict[str, Any]]) -> None:
    job = _jobs.pop(span_id, None)
    if _track is None or not _track.is_exporting or not (is_sampled or job is not None):
        return
    span = record()
    fields: dict[str, Any] = dict(job._fields) if job is not None else {}
    fields |= {"trace_id": span.pop("trace_id"), "span_id": span.pop("span_id")}
    _track.take_library_span(job, fields, span, is_sampled=is_sampled)
