"""Draws a report's plots: SVG to stand in a page, in the page's own colours and type.

The same figures make the same bytes: no times, no names of programs, no ids by chance. Labels are
numbers and dates of ours; nothing that a job said is drawn.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from matplotlib import dates, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fiveobs.cli._records import duration_text

if TYPE_CHECKING:
    from fiveobs.client.answers import TrendPoint

__all__ = ["Plots", "span_text"]

#: Colours that nobody would choose stand for those of the page, which depend on light and dark.
_COLOURS = {
    "muted": "#010101",
    "grid": "#010102",
    "calm": "#010103",
    "bad": "#010104",
    "accent": "#010105",
}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fiveobs",
    "font.size": 9.0,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _COLOURS["grid"],
    "axes.axisbelow": True,
    "grid.color": _COLOURS["grid"],
    "xtick.color": _COLOURS["grid"],
    "xtick.labelcolor": _COLOURS["muted"],
    "ytick.labelcolor": _COLOURS["muted"],
    "ytick.major.size": 0.0,
}
#: How years, months, days, hours, minutes and seconds are written, and the first of each.
_DATES = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
_FIRST_DATES = ["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
#: Without types.
_dates: Any = dates
_WIDTH_IN, _HEIGHT_IN = 7.6, 2.0


class Plots:
    """Draws the plots of one page: their ids are different from one another.

    Args:
        step_s: How long a part of a trend is, in seconds.
    """

    def __init__(self, step_s: int) -> None:
        self._step = timedelta(seconds=step_s)
        self._numbers = itertools.count(1)

    def runs(self, trend: Sequence[TrendPoint]) -> str:
        """How many runs there were in each part, and how many failed."""
        with rc_context(_SETTINGS):
            figure, axes = self._axes(trend)
            middles = [each.from_time + self._step / 2 for each in trend]
            others = [each.runs - each.failed for each in trend]
            failed = [each.failed for each in trend]
            width = 0.84 * self._step
            axes.bar(middles, others, width=width, color=_COLOURS["calm"])
            axes.bar(middles, failed, width=width, bottom=others, color=_COLOURS["bad"])
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            return self._svg(figure)

    def durations(self, trend: Sequence[TrendPoint]) -> str:
        """The median of the durations in each part, and what one run in ten exceeds."""
        with rc_context(_SETTINGS):
            figure, axes = self._axes(trend)
            middles = [each.from_time + self._step / 2 for each in trend]
            median = _or_nan(each.duration_median_seconds for each in trend)
            p90 = _or_nan(each.duration_p90_seconds for each in trend)
            accent: Any = {"color": _COLOURS["accent"]}
            axes.fill_between(middles, median, p90, alpha=0.15, linewidth=0, **accent)
            axes.plot(middles, p90, linewidth=0.9, linestyle=(0, (3, 2)), **accent)
            axes.plot(middles, median, linewidth=1.8, marker="o", markersize=2.8, **accent)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: span_text(value)))
            return self._svg(figure)

    def _axes(self, trend: Sequence[TrendPoint]) -> tuple[Figure, Any]:
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(trend[0].from_time, trend[-1].from_time + self._step)  # type: ignore[arg-type]
        locator = _dates.AutoDateLocator(tz=UTC, minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        form = _dates.ConciseDateFormatter(
            locator, tz=UTC, formats=_DATES, zero_formats=_FIRST_DATES, show_offset=False
        )
        axes.xaxis.set_major_formatter(form)
        axes.grid(axis="y", linewidth=0.8)
        return figure, axes

    def _svg(self, figure: Figure) -> str:
        for axes in figure.axes:
            axes.set_ylim(bottom=0)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
        return _for_page(file.getvalue(), f"plot{next(self._numbers)}-")


def _for_page(svg: str, prefix: str) -> str:
    """The element alone, with ids of its own, as wide as there is room."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<style.*?</style>|font-family: [^;\"]*;? ?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'^<svg .*?viewBox="([^"]*)".*?>', r'<svg viewBox="\1" aria-hidden="true">', svg)
    svg = svg.replace("xlink:href", "href")
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.strip()


def _or_nan(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def span_text(seconds: float) -> str:
    """A length of time for people, without what is zero: ``3 h``, not ``3 h 0 min``."""
    text = duration_text(seconds) if seconds > 0 else "0 s"
    return text.replace(" min 0 s", " min").replace(" h 0 min", " h")
