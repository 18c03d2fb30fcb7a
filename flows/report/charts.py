"""Charts as data: where things lie on an SVG that `templates/charts.html.j2` draws.

Series differ by colour (Okabe and Ito 2008, https://jfly.uni-koeln.de/color/), by marker and by dash: each alone is enough to read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#8a4f7d", "#5b6675")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4")

_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 62.0, 14.0, 12.0, 46.0
_N_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """From values to shares of an axis.

    Attributes:
        low, high: Values at its ends; low is smaller.
        is_log: Equal ratios are equal lengths; both ends are above 0.
        ticks: Values with their text.
        title: Of the axis, with its unit.
    """

    low: float
    high: float
    is_log: bool
    ticks: tuple[tuple[float, str], ...]
    title: str

    def share(self, value: float) -> float:
        """Where a value lies, in [0, 1]; what is outside is put at the end."""
        low, high, place = (math.log(item) if self.is_log else item for item in (self.low, self.high, max(value, self.low)))
        return min(1.0, max(0.0, (place - low) / (high - low)))


@dataclass(frozen=True)
class Series:
    """One line, or only its points.

    Attributes:
        name: In the legend.
        points: x and y.
        errors: x, low and high.
        style: Which colour, marker and dash.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    errors: tuple[tuple[float, float, float], ...] = ()
    style: int = 0
    has_line: bool = True
    has_markers: bool = True

    @property
    def colour(self) -> str:
        """Of lines and markers."""
        return COLOURS[self.style % len(COLOURS)]

    @property
    def marker(self) -> str:
        """The form of its points."""
        return MARKERS[self.style % len(MARKERS)]

    @property
    def dash(self) -> str:
        """SVG's `stroke-dasharray`."""
        return DASHES[self.style % len(DASHES)]


@dataclass(frozen=True)
class Bar:
    """A bar from the x axis upwards: its ends on that axis, its height, and a text on top."""

    low: float
    high: float
    height: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn.

    Attributes:
        name: Unique on the page, letters and dashes.
        alt: What it shows, for who cannot see it.
    """

    name: str
    title: str
    alt: str
    x: Scale
    y: Scale
    series: tuple[Series, ...] = ()
    bars: tuple[Bar, ...] = ()
    width_px: float = 520
    height_px: float = 300

    @property
    def left(self) -> float:
        """Of the plotted area, in px; likewise the other three."""
        return _LEFT_PX

    @property
    def right(self) -> float:
        """See `left`."""
        return self.width_px - _RIGHT_PX

    @property
    def top(self) -> float:
        """See `left`."""
        return _TOP_PX

    @property
    def bottom(self) -> float:
        """See `left`."""
        return self.height_px - _BOTTOM_PX

    def px(self, value: float) -> float:
        """From the left, rounded to a tenth."""
        return round(self.left + self.x.share(value) * (self.right - self.left), 1)

    def py(self, value: float) -> float:
        """From the top, rounded to a tenth."""
        return round(self.bottom - self.y.share(value) * (self.bottom - self.top), 1)

    def path(self, series: Series) -> str:
        """SVG's `points` of a series."""
        return " ".join(f"{self.px(x)},{self.py(y)}" for x, y in series.points)


def linear_scale(values: Iterable[float], title: str, *, percent: bool = False, whole: bool = False) -> Scale:
    """Covers the values, with ticks at multiples of 1, 2 or 5.

    Args:
        values: At least one.
        title: Of the axis.
        percent: Values are shares, ticks are shown in percent.
        whole: Only whole numbers are ticks.
    """
    known = list(values)
    low, high = min(known), max(known)
    if high - low < 1e-9:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    step = _step((high - low) / _N_TICKS)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((place * step, _number(place * step * (100 if percent else 1))) for place in range(first, last + 1))
    return Scale(first * step, last * step, False, ticks, title)


def log_scale(values: Iterable[float], title: str, *, percent: bool = False) -> Scale:
    """Covers the values, all above 0, with ticks at 1, 2 and 5 times powers of ten."""
    known = list(values)
    low, high = min(known) * 0.9, max(known) * 1.1
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    ticks = tuple((value, _number(value * (100 if percent else 1))) for value in found if low <= value <= high)
    return Scale(low, high, True, ticks, title)


def share_scale(title: str) -> Scale:
    """From 0 to 100 %."""
    return Scale(0.0, 1.0, False, tuple((tick / 5, str(20 * tick)) for tick in range(6)), title)


def spread(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    """All x and all y of some series, the ends of their error bars included."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + [end for one in series for _, low, high in one.errors for end in (low, high)]
    return xs, ys


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))


def _number(value: float) -> str:
    return f"{value:,.10g}" if abs(value) < 1e-12 or abs(value) >= 0.001 else f"{value:.1e}"
