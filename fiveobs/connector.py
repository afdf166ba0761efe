"""Says what happens to jobs, resources and services as events: ``ConnectorLogger``.

For code that follows jobs which it does not run itself (a connector to another system), or that
reports on more than one job. Every call makes one event, which takes the way of all events: into
the journal, to the tracks, to the handlers on the bus. Safe from any thread; nothing raises and
nothing waits for a network. Does nothing when ``CONNECTOR_LOGGING_ENABLED`` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from fiveobs import _runtime
from fiveobs._ids import MAX_NAME_LENGTH, clean_id, clean_text
from fiveobs._report import report

__all__ = ["ConnectorLogger"]

_LEVELS = {
    **{level: level for level in ("debug", "info", "warning", "error", "critical")},
    "warn": "warning",
    "fatal": "critical",
}
#: What a service calls itself when nothing is wrong.
_HEALTHY = frozenset(("healthy", "ok", "up", "passing", "online", "ready", "serving"))
#: Longest piece of a message that comes from the caller, in characters.
_MAX_PART_LENGTH = 200


class ConnectorLogger:
    """Makes events for one service; immutable.

    Where no job is given, an event belongs to the job that runs where the call is made, if any.
    Every method takes further keywords, which become the event's ``data``.

    Args:
        service: The service the events belong to.
        session_id: Groups jobs that belong together.
        request_id: The API request that led to them.

    Example:
        >>> connector = ConnectorLogger("comfyui")
        >>> connector.with_job_context("job-12345").job_progress(percent=40)
    """

    __slots__ = ("_bound", "_fields")

    _bound: Mapping[str, Any]
    _fields: Mapping[str, Any]

    def __init__(
        self, service: str, *, session_id: str | None = None, request_id: str | None = None
    ) -> None:
        fields = _ids(service=_name(service), session_id=session_id, request_id=request_id)
        self._set(fields, {})

    def _set(self, fields: Mapping[str, Any], bound: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_bound", bound)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a ConnectorLogger cannot be changed: {name} stays")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a ConnectorLogger cannot be changed: {name} stays")

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"<ConnectorLogger {named}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self._fields), dict(self._bound))

    def with_job_context(
        self,
        job_id: str | None,
        *,
        session_id: str | None = None,
        request_id: str | None = None,
        attempt: int | None = None,
        **fields: Any,
    ) -> ConnectorLogger:
        """A logger whose events belong to a job.

        Args:
            job_id: Which job; ``None`` means the one that runs where a call is made.
            session_id: ``None`` keeps this logger's.
            request_id: ``None`` keeps this logger's.
            attempt: Which try at the job it is, from 1.
            **fields: Become part of the data of every event.
        """
        kept = {k: v for k, v in self._fields.items() if k not in ("job_id", "attempt")}
        kept |= _ids(job_id=job_id, session_id=session_id, request_id=request_id)
        if isinstance(attempt, int):
            kept["attempt"] = attempt
        return _restore(kept, {**self._bound, **fields})

    # --- the life of a job ---

    def job_received(
        self,
        *,
        job_name: str | None = None,
        input_size_bytes: int | None = None,
        queue: str | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """A job has arrived and waits.

        Args:
            job_name: What kind of job it is: the same work done again and again has one name.
            input_size_bytes: How large what it works on is.
            queue: Where it waits.
            job_id: Which job, if not that of ``with_job_context``; likewise below.
            **data: What else there is to say; likewise below.
        """
        data = _with(data, input_size_bytes=input_size_bytes, queue=queue)
        self._emit("job.received", "job received", data, job_id=job_id, job_name=job_name)

    def job_started(
        self, *, job_name: str | None = None, job_id: str | None = None, **data: Any
    ) -> None:
        """Work on the job has begun.

        Args:
            job_name: What kind of job it is, as for ``job_received``.
            job_id: Which job.
            **data: What else there is to say.
        """
        self._emit("job.started", "job started", data, job_id=job_id, job_name=job_name)

    def job_progress(
        self,
        *,
        percent: float | None = None,
        message: str | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """The job has come some way.

        Args:
            percent: How far, 0 to 100.
            message: What it is doing, one line.
            job_id: Which job.
            **data: What else there is to say.
        """
        text = _part(message) or ("job progress" if percent is None else f"job {_part(percent)}%")
        self._emit("job.progress", text, _with(data, percent=percent), job_id=job_id)

    def job_completed(
        self,
        *,
        duration_s: float | None = None,
        output_size_bytes: int | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """The job is done.

        Args:
            duration_s: How long it took, in seconds.
            output_size_bytes: How large its result is.
            job_id: Which job.
            **data: What else there is to say.
        """
        data = _with(data, duration_s=duration_s, output_size_bytes=output_size_bytes)
        self._emit("job.completed", "job completed", data, job_id=job_id)

    def job_failed(
        self,
        *,
        error: BaseException | str | None = None,
        duration_s: float | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """The job has failed.

        Args:
            error: Why: an exception or a text; becomes ``data.error`` with ``type`` and
                ``message``.
            duration_s: How long it took, in seconds.
            job_id: Which job.
            **data: What else there is to say.
        """
        data = _with(data, error=_error_data(error), duration_s=duration_s)
        message = _with_error("job failed", data.get("error"))
        self._emit("job.failed", message, data, level="error", job_id=job_id)

    def job_retrying(
        self,
        *,
        error: BaseException | str | None = None,
        delay_s: float | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """The job will be tried again.

        Args:
            error: What went wrong: an exception or a text.
            delay_s: When, in seconds from now.
            job_id: Which job.
            **data: What else there is to say.
        """
        data = _with(data, error=_error_data(error), delay_s=delay_s)
        message = _with_error("job retrying", data.get("error"))
        self._emit("job.retrying", message, data, level="warning", job_id=job_id)

    def job_cancelled(
        self, *, reason: str | None = None, job_id: str | None = None, **data: Any
    ) -> None:
        """The job was called off.

        Args:
            reason: Why, or by whom.
            job_id: Which job.
            **data: What else there is to say.
        """
        message = f"job cancelled: {_part(reason)}" if reason is not None else "job cancelled"
        data = _with(data, reason=reason)
        self._emit("job.cancelled", message, data, level="warning", job_id=job_id)

    def job_milestone(self, name: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """The job has reached a named moment."""
        data = {**data, "milestone": _name(name)}
        self._emit("job.milestone", data["milestone"] or "milestone", data, job_id=job_id)

    # --- the system around it ---

    def resource_allocated(
        self,
        resource: str,
        /,
        *,
        amount: float | None = None,
        unit: str | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """A resource was taken into use.

        Args:
            resource: Which one, for example ``gpu-0``.
            amount: How much of it.
            unit: Of what, for example ``bytes``.
            job_id: For which job.
            **data: What else there is to say.
        """
        self._resource("allocated", resource, _with(data, amount=amount, unit=unit), job_id)

    def resource_released(
        self,
        resource: str,
        /,
        *,
        amount: float | None = None,
        unit: str | None = None,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """A resource was given back; the arguments are those of ``resource_allocated``."""
        self._resource("released", resource, _with(data, amount=amount, unit=unit), job_id)

    def _resource(self, what: str, resource: str, data: dict[str, Any], job_id: str | None) -> None:
        name = _name(resource)
        data = {**data, "resource": name}
        self._emit(f"resource.{what}", f"{name} {what}", data, job_id=job_id)

    def service_health_changed(
        self,
        status: str,
        /,
        *,
        previous: str | None = None,
        reason: str | None = None,
        **data: Any,
    ) -> None:
        """The service is doing better or worse.

        Args:
            status: How it is now: ``healthy``, ``degraded``, ``unhealthy``.
            previous: How it was before.
            reason: Why it changed.
            **data: What else there is to say.
        """
        now = _name(status)
        message = f"{self._fields.get('service', 'service')} is {now}"
        level = "info" if now.lower() in _HEALTHY else "warning"
        data = {**_with(data, previous=previous, reason=reason), "status": now}
        self._emit("service.health_changed", message, data, level=level)

    def workflow_triggered(
        self, workflow: str, /, *, job_id: str | None = None, **data: Any
    ) -> None:
        """Something else shall happen because of this: a notification, a pipeline."""
        name = _name(workflow)
        data = {**data, "workflow": name}
        self._emit("workflow.triggered", f"workflow {name} triggered", data, job_id=job_id)

    def state_changed(
        self,
        entity: str,
        from_state: str | None,
        to_state: str,
        /,
        *,
        job_id: str | None = None,
        **data: Any,
    ) -> None:
        """Something that other parts of the system follow has changed its state.

        Args:
            entity: What, for example ``machine-3``.
            from_state: Its state before; ``None`` if there was none.
            to_state: Its state now.
            job_id: On account of which job.
            **data: What else there is to say.
        """
        name, now = _name(entity), _name(to_state)
        before = None if from_state is None else _name(from_state)
        data = {**_with(data, from_state=before), "entity": name, "to_state": now}
        change = f"{name}: {now}" if before is None else f"{name}: {before} -> {now}"
        self._emit("state.changed", change, data, job_id=job_id)

    # --- lines of text ---

    def log(self, level: str, message: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """A line of text.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``; any other counts as
                ``info``.
            message: One line.
            job_id: Which job.
            **data: What else there is to say.
        """
        known = _LEVELS.get(_part(level).lower(), "info")
        self._emit("log", _text(message), data, level=known, job_id=job_id)

    def debug(self, message: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """A line of level ``debug``."""
        self.log("debug", message, job_id=job_id, **data)

    def info(self, message: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """A line of level ``info``."""
        self.log("info", message, job_id=job_id, **data)

    def warning(self, message: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """A line of level ``warning``."""
        self.log("warning", message, job_id=job_id, **data)

    def error(self, message: str, /, *, job_id: str | None = None, **data: Any) -> None:
        """A line of level ``error``."""
        self.log("error", message, job_id=job_id, **data)

    def _emit(
        self,
        event_type: str,
        message: str,
        data: Mapping[str, Any],
        *,
        level: str = "info",
        job_id: str | None = None,
        job_name: str | None = None,
    ) -> None:
        try:
            if _runtime.setting("connector_logging") is False:
                return
            own = _ids(job_id=job_id)
            fields = dict(self._fields)
            if own and own["job_id"] != fields.get("job_id"):
                fields.pop("attempt", None)  # it is that of the other job
            if job_name is not None:
                own["job_name"] = _name(job_name)
            _runtime.emit(
                event_type, message, {**self._bound, **data}, level=level, fields=fields | own
            )
        except Exception as exc:
            report("connector", f"{event_type} was not recorded: {type(exc).__name__}")


def _restore(fields: Mapping[str, Any], bound: Mapping[str, Any]) -> ConnectorLogger:
    made = ConnectorLogger.__new__(ConnectorLogger)
    made._set(fields, bound)
    return made


def _ids(**given: object) -> dict[str, Any]:
    """Those that are there, made safe."""
    cleaned = {name: clean_id(value) for name, value in given.items() if value is not None}
    return {name: value for name, value in cleaned.items() if value is not None}


def _with(data: dict[str, Any], **known: Any) -> dict[str, Any]:
    """Data with what is known of it, as far as it was given."""
    return {**{name: value for name, value in known.items() if value is not None}, **data}


def _name(value: object) -> str:
    return "" if value is None else clean_text(value, MAX_NAME_LENGTH)


def _part(value: object) -> str:
    return "" if value is None else clean_text(value, _MAX_PART_LENGTH)


def _text(value: object) -> str:
    """What may have several lines; the redactor cuts it where it is too long."""
    try:
        return str(value)
    except Exception:  # a hostile __str__ must not reach the job
        return ""


def _error_data(error: object) -> dict[str, str] | None:
    """An error as its event has it, or ``None`` if none was given."""
    if error is None:
        return None
    if not isinstance(error, BaseException):
        return {"type": "Error", "message": _text(error)}
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    return {"type": name, "message": _text(error)}


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _with_error(message: str, error: dict[str, str] | None) -> str:
    if error is None:
        return message
    first_line = error["message"].partition("\n")[0]
    return f"{message}: {error['type']}: {_part(first_line)}".rstrip(": ")
