"""Five tracks of observability for background jobs, from one ``observe_job``.

Importing this loads no third-party module; the first job does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiveobs._bus import bus
from fiveobs._context import bind_context, current_job
from fiveobs._job import Job
from fiveobs._log import LogHandler, add_job_context, get_logger
from fiveobs._observe import announce_job, observe_job
from fiveobs._queues import observe_queue
from fiveobs._runtime import configure, flush, shutdown
from fiveobs._stage import Stage
from fiveobs._version import __version__
from fiveobs.connector import ConnectorLogger
from fiveobs.exceptions import ConfigError, FiveobsError, JobStopped
from fiveobs.types import Accounting, JobEvent, JobStatus, Track

if TYPE_CHECKING:
    from fiveobs.executors import ContextThreadPoolExecutor

__all__ = [
    "Accounting",
    "ConfigError",
    "ConnectorLogger",
    "ContextThreadPoolExecutor",
    "FiveobsError",
    "Job",
    "JobEvent",
    "JobStatus",
    "JobStopped",
    "LogHandler",
    "Stage",
    "Track",
    "__version__",
    "add_job_context",
    "announce_job",
    "bind_context",
    "bus",
    "configure",
    "current_job",
    "flush",
    "get_logger",
    "observe_job",
    "observe_queue",
    "shutdown",
]


def __getattr__(name: str) -> Any:
    """Load the executor only when asked for: it brings in ``concurrent.futures``."""
    if name == "ContextThreadPoolExecutor":
        from fiveobs.executors import ContextThreadPoolExecutor

        return ContextThreadPoolExecutor
    raise AttributeError(f"module 'fiveobs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
