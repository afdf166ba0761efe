"""Makes a page of a report: HTML that needs nothing beside itself.

What jobs said is escaped wherever it stands; the numbers are those of the JSON, each with its exact
value beside what is shown of it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from fiveobs._version import __version__
from fiveobs.cli._plots import Plots, span_text

if TYPE_CHECKING:
    from fiveobs.client.answers import Change, ReportAnswer

__all__ = ["page_of"]

_FIGURES = {
    "failureRate": "Share of failures",
    "durationMedianSeconds": "Median duration",
    "queueWaitMedianSeconds": "Median wait",
}


def page_of(report: ReportAnswer) -> str:
    """The whole page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "duration": _duration,
        "moment": _moment,
        "figure": lambda change: _FIGURES.get(change.figure, change.figure),
        "difference": _difference,
        "change_value": _change_value,
    }
    template = files("fiveobs.cli").joinpath("report.html.jinja").read_text(encoding="utf-8")
    plots = Plots(report.trend_step_seconds)
    return environment.from_string(template).render(
        report=report,
        plot_runs=lambda trend: Markup(plots.runs(trend)),  # noqa: S704 - made by us of numbers
        plot_durations=lambda trend: Markup(plots.durations(trend)),  # noqa: S704 - likewise
        version=__version__,
    )


def _value(value: float | None, text: str) -> Markup:
    """A number as it is shown, and as it is."""
    if value is None:
        return Markup('<span class="none">&ndash;</span>')
    return Markup('<data value="{}">{}</data>').format(json.dumps(value), text)


def _count(value: float) -> Markup:
    return _value(value, f"{value:,}")


def _percent(value: float | None) -> Markup:
    return _value(value, "" if value is None else f"{100 * value:.1f}%")


def _duration(value: float | None) -> Markup:
    return _value(value, "" if value is None else span_text(value))


def _moment(value: datetime) -> Markup:
    moment = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(), f"{moment:%Y-%m-%d %H:%M}"
    )


def _change_value(value: float, change: Change) -> Markup:
    return _percent(value) if change.figure == "failureRate" else _duration(value)


def _difference(change: Change) -> Markup:
    sign = "+" if change.difference > 0 else "−" if change.difference < 0 else "±"  # noqa: RUF001
    size = abs(change.difference)
    text = f"{100 * size:.1f} points" if change.figure == "failureRate" else span_text(size)
    return _value(change.difference, escape(f"{sign}{text}"))
