"""Log lines that carry a job's ids: ``job.log``, ``get_logger``, and adapters for other loggers.

Lines go to the journal as ``log`` events and from there where the logs track sends them. An
application's own ``logging`` records get there through ``LogHandler``; structlog's get the ids
from ``add_job_context``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from fiveobs import _runtime
from fiveobs._context import current
from fiveobs._report import report

if TYPE_CHECKING:
    from fiveobs._job import Job

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
#: What every ``logging.LogRecord`` has; the rest is what the application added with ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Loggers that never come back to us: our own, and those of what ships for us.
_OWN_LOGGERS = frozenset(("fiveobs", "opentelemetry", "sentry_sdk", "urllib3", "grpc"))
#: Other names of levels.
_ALIASES = {"warn": "warning", "fatal": "critical"}
#: Whether a thread is in a handler already: a track that logs must not log about its own logging.
_handling = threading.local()


class Log:
    """Writes log lines with a job's ids.

    Args:
        job: Whose; ``None`` takes the job that is running where a line is written.
        name: The logger's name, kept in ``data.logger``.
    """

    __slots__ = ("_job", "_name")

    def __init__(self, job: Job | None = None, name: str = "") -> None:
        self._job = job
        self._name = name

    def debug(self, message: str, /, **data: Any) -> None:
        """Write a line for whoever looks into a problem."""
        self.log("debug", message, data)

    def info(self, message: str, /, **data: Any) -> None:
        """Write a line about the normal course."""
        self.log("info", message, data)

    def warning(self, message: str, /, **data: Any) -> None:
        """Write a line about something unexpected that the job copes with."""
        self.log("warning", message, data)

    def error(self, message: str, /, **data: Any) -> None:
        """Write a line about something that failed."""
        self.log("error", message, data)

    def critical(self, message: str, /, **data: Any) -> None:
        """Write a line about something that somebody must see now."""
        self.log("critical", message, data)

    def exception(self, message: str, /, **data: Any) -> None:
        """Write an error line with the exception that is being handled."""
        self.log("error", message, data, with_error=True)

    def log(
        self, level: str, message: str, data: dict[str, Any], *, with_error: bool = False
    ) -> None:
        """Write a line. Never raises.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
            message: One line for people.
            data: What else to keep; anything that can be shown.
            with_error: Add the exception that is being handled.
        """
        try:
            pipeline = _runtime.get()
            if level not in _LEVELS:
                level = _ALIASES.get(level, "info")
            if pipeline is None or _LEVELS[level] < pipeline.log_level:
                return
            job = self._job or current.get()
            if self._name:
                data = {"logger": self._name, **data}
            pipeline.log(job, level, message, data, with_error=with_error)
        except Exception as exc:
            report("log", f"{type(exc).__name__}: {exc}")


def get_logger(name: str = "") -> Log:
    """A logger whose lines carry the ids of the job that is running, if one is.

    Example:
        >>> log = get_logger(__name__)
        >>> log.info("cache miss", key="a")
    """
    return Log(None, name)


class LogHandler(logging.Handler):
    """Takes an application's ``logging`` records into the journal, with the current job's ids.

    Example:
        >>> logging.getLogger().addHandler(LogHandler())
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """Write one record, with no lock of the handler's own.

        The journal has one, and says with it held that the disk is full: whoever waited there for a
        handler that waits for the journal would wait for ever.
        """
        passed: Any = self.filter(record)  # a record in its place, from Python 3.12 on
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises."""
        if record.name.partition(".")[0] in _OWN_LOGGERS or getattr(_handling, "is_busy", False):
            return
        _handling.is_busy = True
        try:
            _take(record)
        except Exception as exc:
            report("log", f"{type(exc).__name__}: {exc}")
        finally:
            _handling.is_busy = False


def _take(record: logging.LogRecord) -> None:
    data = {k: v for k, v in vars(record).items() if k not in _STANDARD}
    data["logger"] = record.name
    if record.exc_info and record.exc_info[1] is not None:
        pipeline = _runtime.get()
        if pipeline is not None:
            data["error"] = pipeline.error_data(record.exc_info[1])
    try:
        message = record.getMessage()
    except Exception as exc:  # the arguments do not fit the message: better both than nothing
        report("log", f"{record.name}: {type(exc).__name__}: {exc}")
        message, data["args"] = str(record.msg), record.args
    Log().log(_level_name(record.levelno), message, data)


def _level_name(number: int) -> str:
    for name, least in reversed(_LEVELS.items()):
        if number >= least:
            return name
    return "debug"


def add_job_context(
    logger: Any,
    method_name: str,
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """A structlog processor that adds the current job's ids to every line.

    Example:
        >>> structlog.configure(processors=[add_job_context, structlog.processors.JSONRenderer()])
    """
    try:
        job = current.get()
        for key, value in _runtime.ids_of(job).items():
            event_dict.setdefault(key, value)
    except Exception as exc:
        report("log", f"{type(exc).__name__}: {exc}")
    return event_dict
