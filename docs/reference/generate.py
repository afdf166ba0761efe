"""Write the reference pages beside this file from the code.

``configuration.md`` from the table of settings, ``events.md`` from the schema of journal lines,
``metrics.md`` from the instruments, ``api.md`` from the public names, ``http-api.md`` from the
monitor's OpenAPI document, and with it the classes in ``fiveobs/client/answers``, ``export.md``
from the tables that can be exported. Run it after a change to one of them, from the repository's
root: ``python docs/reference/generate.py``. It needs ``fiveobs[monitor]``.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import fiveobs
from fiveobs import _bus, _log, _subscription
from fiveobs._setting import TRACKS, Setting
from fiveobs._settings import SETTINGS
from fiveobs.tracks import _observations, metrics
from fiveobs.tracks._sums import Instrument

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # the modules beside this file

# --- configuration.md --------------------------------------------------------------------------

HEAD = """# Configuration

<!-- Made by docs/reference/generate.py from the table of settings; change it there. -->

Settings come from the environment, and from `configure()`, which wins. `fiveobs config` prints what
is in force and where each value came from, with secrets masked.

- Where a setting has several variables, the first that is set wins. An empty variable counts as
  unset.
- Durations are `30s`, `500ms`, `2m`, `1h`, or a plain number of seconds. Sizes are `16MiB`, `64MB`
  or a number of bytes. Switches are `true` or `false`, `1` or `0`, `yes` or `no`, `on` or `off`.
- `configure()` takes the same text or the Python value, under the name of the setting. `None` is as
  if not given; for a setting that is unset by default it means unset, whatever the environment
  says.
- `configure()` raises `ConfigError` for a value that cannot be used, naming all of them at once.
  Without `configure()` such a variable is reported once, the default is used, and the job runs.
"""

NOTES = {
    "traces": """
An endpoint without a scheme, such as `localhost:4317`, is taken for `http://`. A general
`OTEL_EXPORTER_OTLP_ENDPOINT` is the base of `/v1/traces` and `/v1/metrics` when the protocol is
HTTP; a variable for one signal is used as it is; `configure()` may leave the path out.
`OTEL_TRACES_SAMPLER_ARG` is the ratio of `OTEL_TRACES_SAMPLER=traceidratio`. Where a setting has
one variable for traces and one for everything, the one for traces wins and is not mixed with the
other.
""",
    "errors": """
Errors are always sent. `SENTRY_SAMPLE_RATE` is the rate of performance data only.
""",
    "redaction": """
These add to what is redacted always: passwords, tokens, keys, cookies, DSNs, and what looks like
one. A pattern that is not a regular expression, or that matches the empty text, is left out.
""",
}


def page() -> str:
    """The page of settings."""
    return HEAD + "".join(_section(track) for track in TRACKS)


def _section(track: str) -> str:
    rows = "".join(_row(setting) for setting in SETTINGS if setting.track == track)
    table = f"| Setting | Variables | Default | Meaning |\n|---|---|---|---|\n{rows}"
    return f"\n## {track.capitalize()}\n\n{table}{NOTES.get(track, '')}"


def _row(setting: Setting) -> str:
    names = ", ".join(f"`{name}`" for name in setting.env) or "`configure()` only"
    secret = " Shown masked." if setting.secret else ""
    return f"| `{setting.attr}` | {names} | {_default(setting)} | {setting.doc}{secret} |\n"


def _default(setting: Setting) -> str:
    default = setting.default
    if setting.default_text:
        return setting.default_text
    if default is None:
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if setting.attr.endswith("_bytes"):
        return f"`{default // 2**20}MiB`"
    if isinstance(default, float):
        return f"`{default:g}{'s' if setting.attr.endswith('_s') else ''}`"
    return f"`{default}`"


# --- events.md ---------------------------------------------------------------------------------

EVENTS_HEAD = """# Events

<!-- Made by docs/reference/generate.py from fiveobs/journal/schema.json; change it there. -->

One line of the journal is one record, a JSON object. This page is made from its JSON Schema, which
is in the package: `importlib.resources.files("fiveobs").joinpath("journal/schema.json")`. Names say
the unit: `_s` is seconds, `_bytes` is bytes, `_ns` is nanoseconds since 1970. A field that is not
known is left out. A reader should ignore fields that it does not know.

Outside the machine's journal, for example in a webhook, an event is a
[CloudEvents 1.0](https://cloudevents.io) object: `JobEvent.to_cloudevent()`. Its `type` is
`fiveobs.` and the event type, its `subject` the job id, and its `data` the whole line.
"""
COMMON_HEAD = """
## Fields of every line

| Field | Type | |
|---|---|---|
"""
_FREE = "\nFurther fields: {}\n"


def events_page() -> str:
    """The page of event types."""
    schema = json.loads(files("fiveobs").joinpath("journal/schema.json").read_bytes())
    required = {*schema["required"], "service"}
    common = "".join(_field_row(*each, required) for each in schema["properties"].items())
    types = schema["properties"]["event_type"]["enum"]
    sections = "".join(_event_section(name, schema["$defs"][name]) for name in types)
    rest = "".join(
        f"\n## `{name}` in a field\n\n{_fields(schema['$defs'][name])}"
        for name in ("error", "span_to_export")
    )
    marked = (
        "\nThose in **bold** are on every event. `service` is left out on `span` and `envelope`"
        " records\nthat belong to no job. Job, trace and span ids are on whatever belongs to a"
        " job.\n"
    )
    return EVENTS_HEAD + COMMON_HEAD + common + marked + sections + rest


def _event_section(name: str, definition: dict[str, Any]) -> str:
    free = definition.get("$comment", "")
    note = _FREE.format(free[0].lower() + free[1:]) if free else ""
    fields = _fields(definition) if definition["properties"] else "No data.\n"
    return f"\n## `{name}`\n\n{definition['description']}\n\n{fields}{note}"


def _fields(definition: dict[str, Any]) -> str:
    required = set(definition.get("required", ()))
    rows = (_field_row(*each, required) for each in definition["properties"].items())
    return "| Field | Type | |\n|---|---|---|\n" + "".join(rows)


def _field_row(name: str, field: dict[str, Any], required: set[str]) -> str:
    shown = f"**`{name}`**" if name in required else f"`{name}`"
    choices = field.get("enum", ()) if name != "event_type" else ()
    listed = " One of " + ", ".join(f"`{each}`" for each in choices) + "." if choices else ""
    return f"| {shown} | {_json_type(field)} | {field.get('description', '')}{listed} |\n"


def _json_type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[1].replace("_to_export", "")
    found = field.get("type", "boolean")
    return " or ".join(found) if isinstance(found, list) else str(found)


# --- metrics.md --------------------------------------------------------------------------------

METRICS_HEAD = """# Metrics

<!-- Made by docs/reference/generate.py from the instruments; change them in fiveobs/tracks/. -->

What the metrics track sends, every `METRICS_COLLECTION_INTERVAL`. The Prometheus names are those
that an OpenTelemetry Collector's Prometheus exporter gives with its default settings; a histogram
has `_bucket`, `_sum` and `_count`. In label names dots become underscores (`error.type` is
`error_type`). With the Collector configuration of this project every series also has `job` (the
service), `worker_id` and `machine_id`.

`job_id` is never a label. A metric has at most `FIVEOBS_METRIC_LABEL_LIMIT` label sets; the rest go
into one series with the label `otel.metric.overflow`. Histograms carry exemplars: the trace and
span of a job whose trace is kept. With cumulative sums the newest of each bucket goes out for a
minute, so that whoever scrapes the Collector meets it whatever the two intervals are.

What `job.count`, `job.gauge` and `job.record` measure is sent under the name, unit and labels given
there, up to 500 names.
"""
SECTIONS = {
    "Jobs": metrics,
    "Process, machine and fiveobs itself": _observations,
}
#: The labels of each instrument; a test compares them with what is really sent.
LABELS: dict[str, tuple[str, ...]] = {
    "jobs.processed": ("service", "name", "status"),
    "jobs.received": ("service",),
    "jobs.active": ("service",),
    "errors": ("service", "error.type"),
    "queue.size": ("queue",),
    "job.duration": ("service", "name", "status"),
    "job.queue.wait": ("queue",),
    "job.stage.duration": ("service", "stage"),
    "fiveobs.records.accepted": ("track",),
    "fiveobs.records.delivered": ("track",),
    "fiveobs.records.dropped": ("track",),
    "fiveobs.records.pending": ("track",),
    "fiveobs.track.failures": ("track",),
    "process.disk.io": ("disk.io.direction",),
    "system.network.io": ("network.io.direction",),
    **dict.fromkeys(
        (
            "hw.gpu.utilization",
            "hw.gpu.memory.usage",
            "hw.gpu.memory.limit",
            "hw.temperature",
            "hw.power",
        ),
        ("hw.id", "hw.name"),
    ),
}
_SUFFIXES = {"s": "_seconds", "By": "_bytes", "Cel": "_celsius", "W": "_watts"}


def metrics_page() -> str:
    """The page of instruments."""
    parts = [METRICS_HEAD]
    for title, module in SECTIONS.items():
        head = "| OpenTelemetry name | Kind | Unit | Prometheus name | Labels | |\n"
        rows = "".join(_instrument_row(each) for each in instruments(module))
        parts.append(f"\n## {title}\n\n{head}|---|---|---|---|---|---|\n{rows}")
    bounds = ", ".join(f"{bound:g}" for bound in metrics.JOB_DURATION.bounds)
    parts.append(
        "\n`status` is `success`, `failed`, `stopped`, `cancelled` or `interrupted`.\n"
        f"\nThe upper bounds of the histograms' buckets, in seconds: {bounds}.\n"
        "\nGPU figures need `pip install 'fiveobs[gpu]'` and a driver; without them they are left"
        " out.\n"
    )
    return "".join(parts)


def instruments(module: Any) -> list[Instrument]:
    """The instruments that a module defines, in its order."""
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, Instrument)
        and (module is metrics or getattr(metrics, name, None) is not value)
    ]


def prometheus_name(instrument: Instrument) -> str:
    """The name that an OpenTelemetry Collector's Prometheus exporter gives."""
    name = instrument.name.replace(".", "_") + _SUFFIXES.get(instrument.unit, "")
    if instrument.kind == "counter":
        return f"{name}_total"
    if instrument.kind == "gauge" and instrument.unit == "1":
        return f"{name}_ratio"
    return name


def _instrument_row(instrument: Instrument) -> str:
    labels = ", ".join(f"`{label}`" for label in LABELS.get(instrument.name, ()))
    cells = (
        f"`{instrument.name}`",
        instrument.kind,
        f"`{instrument.unit}`",
        f"`{prometheus_name(instrument)}`",
        labels,
        f"{instrument.description}.",
    )
    return "| " + " | ".join(cells) + " |\n"


# --- api.md ------------------------------------------------------------------------------------

API_HEAD = """# Python API

<!-- Made by docs/reference/generate.py from the docstrings; change them in the code. -->

All that `import fiveobs` offers, with the first lines of each docstring. `help()` shows the rest:
arguments, units, what is raised. Importing it loads no third-party module. What is not here, and
every module whose name begins with an underscore, is internal and may change in any version. For
tests there is `fiveobs.testing`: see [test code that is observed](../howto/testing.md).
"""
_NOT_MADE_BY_USERS = ("Job", "Stage", "Track")
#: The longest signature on one line.
_MAX_LINE_LENGTH = 88
#: Public methods of the bus that our own modules call.
_HIDDEN = ("settle", "notify_waiters", "after_fork")
#: What can be read on a job, beside its methods.
JOB_ATTRIBUTES = (
    *("name", "service", "queue", "job_id", "parent_span_id", "session_id", "request_id"),
    *("trace_id", "span_id", "attempt", "status", "percent", "progress_message", "stage_name"),
    *("input_size_bytes", "output_size_bytes", "sentry_event_id"),
)
#: What the public names hand out and is not among them itself.
HANDED_OUT = {
    "Log": (_log.Log, "What `get_logger` returns, and `Job.log`."),
    "Bus": (_bus.Bus, "The type of `bus`."),
    "Subscription": (_subscription.Subscription, "What `bus.subscribe` returns."),
    "DeadLetter": (_bus.DeadLetter, "What `bus.dead_letters` returns."),
}


def api_page() -> str:
    """The page of public names."""
    sections = [_api_section(name, getattr(fiveobs, name)) for name in fiveobs.__all__]
    sections += ["\n# Handed out\n\nTypes that the names above return; not made by users.\n"]
    sections += [_class_section(name, kind, note) for name, (kind, note) in HANDED_OUT.items()]
    return API_HEAD + "".join(sections)


def _api_section(name: str, value: Any) -> str:
    if inspect.isclass(value):
        return _class_section(name, value)
    if inspect.isfunction(value):
        return f"\n## `{name}`\n\n{_block(name, value)}{_summary(value)}\n"
    if isinstance(value, str):
        return f"\n## `{name}`\n\nThe version, as text.\n"
    return f"\n## `{name}`\n\n{_summary(type(value))} Its methods are those of [`Bus`](#bus-1).\n"


def _class_section(name: str, kind: type, note: str = "") -> str:
    head = f"\n## `{name}`\n\n"
    if kind.__init__ is not object.__init__ and kind.__module__.startswith("fiveobs") and not note:
        head += _constructor(name, kind)
    text = " ".join(part for part in (_summary(kind), note) if part)
    if name == "Job":
        text += " Attributes: " + ", ".join(f"`{each}`" for each in JOB_ATTRIBUTES) + "."
    members = "".join(f"- {line}\n" for line in _members(kind))
    return f"{head}{text}\n" + (f"\n{members}" if members else "")


def _constructor(name: str, kind: type) -> str:
    if name in _NOT_MADE_BY_USERS or issubclass(kind, BaseException | tuple):
        return ""
    own = vars(kind).get("__init__")
    return _block(name, own) if inspect.isfunction(own) else ""


def _members(kind: type) -> Iterator[str]:
    """What a class defines itself: methods, properties, enum members and tuple fields."""
    fields: tuple[str, ...] = getattr(kind, "_fields", ()) if issubclass(kind, tuple) else ()
    yield from (f"`{name}`" for name in fields)
    for name, value in vars(kind).items():
        if name.startswith("_") or name in fields or name in _HIDDEN:
            continue
        if isinstance(value, kind):
            yield f"`{name}`: `{value.value!r}`"
        elif isinstance(value, property):
            yield f"`{name}`: {_summary(value)}"
        elif inspect.isfunction(value):
            yield f"`{_signature(name, value)}`: {_summary(value)}"


def _signature(name: str, function: Any) -> str:
    """Name, parameters with their types, and what comes back."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=parameters)))
    shown = shown.removesuffix(" -> None")
    return f"async {name}{shown}" if inspect.iscoroutinefunction(function) else f"{name}{shown}"


def _block(name: str, function: Any) -> str:
    """The signature in a block of its own; a long one with a line for each parameter."""
    text = _signature(name, function)
    if len(text) > _MAX_LINE_LENGTH:
        inner, _, result = text[len(name) + 1 :].rpartition(")")
        parameters = re.sub(r", (?=\*?\*?\w+[:,]|\*?\*?\w+$|/|\*,)", ",\n    ", inner)
        text = f"{name}(\n    {parameters},\n){result}"
    return f"```text\n{text}\n```\n\n"


def _summary(value: Any) -> str:
    """The first sentence or paragraph line of the docstring, in Markdown."""
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(paragraph.split()))


# --- http-api.md and the client's answers ------------------------------------------------------

ANSWERS = FOLDER.parents[1] / "fiveobs" / "client" / "answers"


@cache
def openapi() -> dict[str, Any]:
    """The monitor's OpenAPI document."""
    from sqlalchemy import create_engine

    from fiveobs.monitor.api.app import create_app
    from fiveobs.monitor.store.engine import Store

    document: dict[str, Any] = create_app(Store(create_engine("sqlite://"))).openapi()
    return document


def http_page() -> str:
    """The page of HTTP routes."""
    from http_api import page

    return page(openapi())


def answer_modules() -> dict[str, str]:
    """The text of each module in ``fiveobs/client/answers``, by its name."""
    from client_answers import modules

    return modules(openapi())


def export_page() -> str:
    """The page of tables that can be exported."""
    from export_tables import page

    return page()


#: Each page's maker by the page's name.
PAGES = {
    "configuration.md": page,
    "events.md": events_page,
    "metrics.md": metrics_page,
    "api.md": api_page,
    "http-api.md": http_page,
    "export.md": export_page,
}

if __name__ == "__main__":
    for filename, make in PAGES.items():
        (FOLDER / filename).write_text(make(), encoding="utf-8")
        print(f"wrote {filename}")
    for name, text in answer_modules().items():
        (ANSWERS / f"{name}.py").write_text(text, encoding="utf-8")
    print("wrote fiveobs/client/answers")
