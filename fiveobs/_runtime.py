"""The pipeline of this process: made at the first job, made anew after a fork, ended at exit.

Everything public that is not about one job is here: ``configure``, ``flush``, ``shutdown``. Loads
no third party before the first job.

Fork safety: a pipeline belongs to one process id, which is compared on every use, because a fork
from C runs no Python hooks. Nothing of the parent's is used in the child: not its locks, threads,
connections or files.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from os import getpid
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs._loading import loading
from fiveobs._report import forget, report

if TYPE_CHECKING:
    from fiveobs._ids import IdSource
    from fiveobs._job import Job
    from fiveobs._pipeline import Pipeline

#: Seconds until a pipeline that could not be made is tried again.
_RETRY_S = 60.0

_pipeline: Pipeline | None = None
#: Locks by process id: a child must never wait for a lock that its parent's thread held.
_locks: dict[int, threading.RLock] = {}
_overrides: dict[str, Any] = {}
_substitutes: Substitutes | None = None
_retry_at = 0.0
_exiting = False
#: How many pipelines are being closed, and whether SIGTERM has come meanwhile.
_closing = 0
_terminated_meanwhile = False
#: Parents' pipelines, kept so that nothing of theirs is finalized in a child.
_abandoned: list[Pipeline] = []
_hooked_pid = 0
#: Ends a job with an exception; see ``end_job_with``.
_end_job: Callable[[Job, BaseException], None] | None = None


class Substitutes(NamedTuple):
    """What ``fiveobs.testing`` puts in place of what the process would have."""

    #: Settings below those of ``configure()``.
    settings: Mapping[str, Any]
    #: Mints the ids of every pipeline; ``None`` leaves that to each.
    ids: IdSource | None
    #: Is given each pipeline before it starts.
    prepare: Callable[[Pipeline], None]


def get() -> Pipeline | None:
    """The pipeline of this process, made if need be; ``None`` if there cannot be one."""
    pipeline = _pipeline
    if pipeline is not None and pipeline.pid == getpid():
        return pipeline
    return _open()


def _lock() -> threading.RLock:
    return _locks.setdefault(getpid(), threading.RLock())


def _open() -> Pipeline | None:
    global _pipeline, _retry_at
    if _exiting or time.monotonic() < _retry_at:
        return None
    with _lock():
        if _pipeline is not None:
            if _pipeline.pid == getpid():
                return _pipeline
            _abandon()
        loading.watch_forks()
        try:
            with loading:
                _pipeline = _build(_overrides, strict=False)
        except Exception as exc:
            _retry_at = time.monotonic() + _RETRY_S
            report("fiveobs", f"cannot start: {type(exc).__name__}: {exc}; jobs run unobserved")
            return None
        return _pipeline


def _build(overrides: Mapping[str, Any], *, strict: bool) -> Pipeline | None:
    global _retry_at
    from fiveobs._config import load_config

    substitutes = _substitutes
    if substitutes is not None:
        overrides = {**substitutes.settings, **overrides}
    config = load_config(os.environ, overrides, strict=strict)
    for problem in config.problems:
        name, _, what = problem.partition(" ")
        report(f"setting {name}", what)
    if not config.enabled:
        _retry_at = float("inf")
        return None
    from fiveobs._pipeline import Pipeline

    pipeline = Pipeline(config, substitutes.ids if substitutes is not None else None)
    if substitutes is not None:
        substitutes.prepare(pipeline)
    _hook_process()
    pipeline.start()
    return pipeline


def configure(**overrides: Any) -> None:
    """Set what the environment does not say, check all of it, and start.

    Calling it is optional. A second call replaces the first: what was collected until then is
    flushed to where it belonged.

    Args:
        **overrides: Settings by name (``fiveobs config`` lists them), for example
            ``service="thumbnails"``, ``trace_sample_ratio=0.1``, ``tracks=[MyTrack()]``. They win
            over the environment.

    Raises:
        ConfigError: A setting, here or in the environment, cannot be used. The message names each,
            its value and what would be valid.
    """
    global _pipeline, _retry_at, _overrides
    from fiveobs._config import load_config

    load_config(os.environ, overrides, strict=True)
    with _lock():
        _close(_pipeline, None)
        _pipeline = None
        _retry_at = 0.0
        _overrides = dict(overrides)
        forget()
    _open()


def flush(timeout_s: float | None = None) -> bool:
    """Wait until everything recorded so far has been delivered.

    Args:
        timeout_s: One deadline for all tracks; ``None`` takes ``FIVEOBS_SHUTDOWN_TIMEOUT``.

    Returns:
        Whether everything went through. What did not stays in the journal.
    """
    pipeline = _pipeline
    if pipeline is None or pipeline.pid != getpid():
        return True
    try:
        return pipeline.flush(_deadline(pipeline, timeout_s))
    except Exception as exc:
        report("flush", f"{type(exc).__name__}: {exc}")
        return False


def shutdown(timeout_s: float | None = None) -> bool:
    """Flush, then end all threads and connections. A job after that starts everything anew.

    Args:
        timeout_s: One deadline for all of it; ``None`` takes ``FIVEOBS_SHUTDOWN_TIMEOUT``.

    Returns:
        Whether everything went through. What did not stays in the journal, and the next process
        with the same ``FIVEOBS_HOME`` delivers it.
    """
    global _pipeline
    with _lock():
        pipeline, _pipeline = _pipeline, None
    return _close(pipeline, timeout_s)


def _close(pipeline: Pipeline | None, timeout_s: float | None) -> bool:
    if pipeline is None or pipeline.pid != getpid():
        return True
    global _closing
    _closing += 1
    try:
        return pipeline.close(_deadline(pipeline, timeout_s))
    except Exception as exc:
        report("shutdown", f"{type(exc).__name__}: {exc}")
        return False
    finally:
        _closing -= 1
        if _terminated_meanwhile and not _closing:
            os.kill(os.getpid(), signal.SIGTERM)


def _deadline(pipeline: Pipeline, timeout_s: float | None) -> float:
    if timeout_s is None:
        timeout_s = pipeline.config.shutdown_timeout_s
    return time.monotonic() + timeout_s


# --- for our own modules ---------------------------------------------------------------------


def emit(
    event_type: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    level: str = "info",
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Make one event that belongs to the given ids, or to the current job. Never raises."""
    try:
        pipeline = get()
        if pipeline is not None:
            pipeline.emit_for(fields or {}, event_type, level, message, dict(data or {}))
    except Exception as exc:
        report("emit", f"{event_type}: {type(exc).__name__}: {exc}")


def setting(name: str) -> Any:
    """A setting's value; ``None`` if nothing could be configured."""
    pipeline = get()
    return None if pipeline is None else getattr(pipeline.config, name)


def ids_of(job: Job | None) -> dict[str, Any]:
    """The ids to put on a line of somebody else's log."""
    pipeline = get()
    if pipeline is None:
        return {}
    own = job._fields if job is not None else {}
    return {k: v for k, v in {**pipeline.base, **own}.items() if k.endswith("_id")}


@contextlib.contextmanager
def substituted(substitutes: Substitutes) -> Iterator[None]:
    """Begin anew with other parts, and go back to the process's own at the end."""
    global _overrides, _substitutes, _retry_at
    shutdown()
    saved = _overrides, _substitutes
    _overrides, _substitutes, _retry_at = {}, substitutes, 0.0
    forget()
    try:
        yield
    finally:
        shutdown()
        (_overrides, _substitutes), _retry_at = saved, 0.0
        forget()


# --- the life of the process -----------------------------------------------------------------


def _hook_process() -> None:
    """Be told of exits and of SIGTERM; once in each process."""
    global _hooked_pid
    pid = getpid()
    if _hooked_pid == pid:
        return
    first = _hooked_pid == 0
    _hooked_pid = pid
    if first:
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
    _hook_pool_exit()
    from fiveobs import _signals

    _signals.install(interrupt=_terminated)


def _hook_pool_exit() -> None:
    """Children of ``multiprocessing`` and ``billiard`` run finalizers but no ``atexit``."""
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, _at_exit, exitpriority=0)
    # The children of Celery's pool run none: they leave by os._exit, and a signal tells before.
    ending = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
    if ending is not None:
        ending.connect(_at_celery_exit, weak=False)


def _at_celery_exit(**_: Any) -> None:
    _at_exit()


def _after_fork() -> None:
    _abandon()


def _abandon() -> None:
    """Leave a parent's pipeline alone, in the child."""
    global _pipeline, _retry_at, _exiting, _closing, _terminated_meanwhile
    parents, _pipeline = _pipeline, None
    _closing, _terminated_meanwhile = 0, False
    _retry_at = 0.0 if _retry_at != float("inf") else _retry_at
    _exiting = False
    if parents is not None and parents.pid != getpid():
        _abandoned.append(parents)
        parents.abandon()


def end_job_with(end: Callable[[Job, BaseException], None]) -> None:
    """Take the function that ends a job: jobs are made of us, so we cannot import it."""
    global _end_job
    _end_job = end


def _at_exit() -> None:
    global _exiting
    _interrupted()
    _exiting = True


def _terminated() -> bool:
    """SIGTERM has come: end the jobs and flush; ``False`` while a flush is to be finished first."""
    global _terminated_meanwhile
    if _closing:
        _terminated_meanwhile = True
        return False
    _interrupted()
    return True


def _interrupted() -> None:
    """The process is about to end: end its jobs as ``interrupted``, then flush."""
    pipeline = _pipeline
    if pipeline is None or pipeline.pid != getpid():
        return
    if _end_job is not None:
        for job in list(pipeline.active.values()):
            _end_job(job, SystemExit("the process is ending"))
    shutdown()
