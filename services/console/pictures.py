"""The outcomes as pictures: SVG, the same bytes for the same outcomes, with a title and a description in words.

Text stays text, so that it can be searched, copied and read aloud; letters are measured with matplotlib's own
font, so that no machine's fonts change the picture. Colours are told apart by people with any colour vision
(Okabe & Ito 2008), and every colour has a mark of its own.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from services.safety.outcomes import Outcomes
from services.safety.outcomes.chimerism import Curve, Point
from services.safety.outcomes.limiting import Limiting

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "trialtrail",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a term with two dollar signs is no formula
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FIRST_WEEKS: Final = 28
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")


def pictures(told: Outcomes, caption: str) -> Iterator[tuple[str, bytes]]:
    """Every picture that there is something to draw for: its file name, and its bytes.

    ``caption`` stands below each: of which log and moment it is.
    """
    with rc_context(), warnings.catch_warnings():
        rcdefaults()  # a person's own matplotlibrc changes no picture
        rcParams.update(_STYLE)
        # A letter that the font does not have is missing from its measure only: the text itself stays.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if told.incidence.classes:
            yield "adverse-events.svg", _by_class(told, caption)
        if told.limiting is not None and any(level.windows for level in told.limiting.levels):
            yield "dose-limiting-toxicities.svg", _rates(told.limiting, caption)
        curves = [one for one in told.chimerism if any(_drawn(point) for point in one.points)]
        if curves:
            yield "chimerism.svg", _curves(curves, told, caption)


def _by_class(told: Outcomes, caption: str) -> bytes:
    """Per cent of an arm's participants with at least one event, by system organ class: a dot for each arm."""
    rows = [told.incidence.any, *(one.row for one in told.incidence.classes)]
    figure = Figure(figsize=(9.0, 1.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for at, arm in enumerate(told.arms):
        if not arm.participants:
            continue
        step = 0.5 / max(len(told.arms) - 1, 1)
        heights = [line - 0.25 + at * step if len(told.arms) > 1 else line for line in range(len(rows))]
        shares = [float(row.arms[at].percent or 0) for row in rows]
        label = f"{arm.id} (N = {len(arm.participants)})"
        axes.plot(
            shares, heights, _mark(at), color=_colour(at), markersize=4.5, label=label, clip_on=False, zorder=3
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlabel("participants with at least one, % of the arm")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False)
    title = "Treatment-emergent adverse events by system organ class and arm"
    lines = [
        f"{row.label}: "
        + ", ".join(f"{arm.id} {cell.n} of {cell.of}" for arm, cell in zip(told.arms, row.arms, strict=True))
        for row in rows
    ]
    return _written(figure, title, lines, caption)


def _rates(limiting: Limiting, caption: str) -> bytes:
    """The rate of dose-limiting toxicity at each dose level, with its interval, and the rate looked for."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    lines, names = [], []
    for at, level in enumerate(limiting.levels):
        told = f"{level.toxicities} of {level.evaluable}"
        names.append(f"{level.dose_level}\n{level.toxicities} / {level.evaluable}")
        if waiting := len(level.codes("open")):
            told += f", {waiting} open"
            names[-1] += f"\n{waiting} open"
        lines.append(f"{level.dose_level}: {told}")
        if level.rate is None or level.low is None or level.high is None:
            continue
        rate = float(level.rate)
        reach = [[max(rate - level.low, 0.0)], [max(level.high - rate, 0.0)]]
        axes.errorbar([at], [rate], yerr=reach, fmt="o", color=_COLOURS[0], capsize=5, clip_on=False)
        lines[-1] += f", rate {level.rate}, interval {level.low} to {level.high}"
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("rate of dose-limiting toxicity")
    axes.set_xlabel("dose level, participants with a toxicity / evaluable")
    if limiting.target is not None:
        axes.axhline(float(limiting.target), color=_COLOURS[1], linestyle="--", linewidth=1)
        axes.text(len(names) - 0.5, float(limiting.target), f"target {limiting.target}", va="bottom", ha="right")
        lines.append(f"the escalation rule looks for {limiting.target}")
    title = f"Dose-limiting toxicity within {limiting.last_day} days by dose level, {limiting.interval}s"
    return _written(figure, title, lines, caption)


def _curves(curves: Sequence[Curve], told: Outcomes, caption: str) -> bytes:
    """A curve for each participant, a panel for each arm; what is below the limit of detection, at it, hollow."""
    arms = [arm.id for arm in told.arms if any(one.arm == arm.id for one in curves)]
    figure = Figure(figsize=(max(6.0, 3.6 * len(arms)), 4.6), layout="constrained")
    panels = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)[0]
    lines = []
    for at, (arm, axes) in enumerate(zip(arms, panels, strict=True)):
        axes.set_title(arm, fontsize=9)
        axes.set_xlabel("day from the first exposure")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for one in curves:
            if one.arm == arm:
                points = [point for point in one.points if _drawn(point)]
                _curve(axes, points, at, one.participant)
                values = ", ".join(f"day {one.day} {one.comparator or ''}{one.percent:f}%" for one in points)
                lines.append(f"{one.participant} ({arm}): {values}")
    _stretch(panels[0], curves, told.chimerism_days)
    panels[0].set_ylabel("chimerism in blood, %")
    panels[-1].plot([], [], "v", color="#555555", fillstyle="none", label="below the limit of detection")
    panels[-1].legend(loc="lower right", bbox_to_anchor=(1.0, 1.06), frameon=False, borderpad=0)
    if left := sum(not _drawn(point) for one in told.chimerism for point in one.points):
        caption = f"{left} of the measurements not drawn: 0, or of no one day; {caption}"
    return _written(figure, "% chimerism, a curve for each participant", lines, caption)


def _stretch(axes: Axes, curves: Sequence[Curve], days: Sequence[int]) -> None:
    """Give the first weeks their room where the curves go on for months: later days stand closer and closer."""
    if max(point.day or 0 for one in curves for point in one.points) > 2 * _FIRST_WEEKS:
        axes.set_xscale("symlog", linthresh=_FIRST_WEEKS, linscale=1.5)
        axes.set_xticks([0, *(day for day in days if day % 7 == 0 or day > _FIRST_WEEKS)])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _curve(axes: Axes, points: Sequence[Point], at: int, code: str) -> None:
    days = [float(point.day or 0) for point in points]
    shares = [float(point.percent) for point in points]
    axes.plot(days, shares, "-", color=_colour(at), linewidth=0.9)
    for below, mark, fill in ((False, _mark(at), "full"), (True, "v", "none")):
        chosen = [n for n, point in enumerate(points) if (point.comparator in {"<", "<="}) == below]
        x, y = [days[n] for n in chosen], [shares[n] for n in chosen]
        axes.plot(x, y, mark, color=_colour(at), fillstyle=fill, markersize=4.5)
    last = (days[-1], shares[-1])
    axes.annotate(code, last, xytext=(5, 0), textcoords="offset points", fontsize=6.5, va="center")


def _drawn(point: Point) -> bool:
    """Whether a point has a place on the axes: a day, and a logarithm."""
    return point.day is not None and point.percent > 0


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]


def _mark(at: int) -> str:
    return _MARKS[at % len(_MARKS)]


def _written(figure: Figure, title: str, lines: Sequence[str], caption: str) -> bytes:
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    figure.supxlabel(caption, fontsize=7, color="#555555")
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Title": _printable(title)})
    # matplotlib writes the title as the first element; what a reader of the picture is told stands after it.
    head, end, rest = written.getvalue().decode().partition("</title>")
    described = escape(_printable(". ".join([*lines, caption])))
    head = head.replace("<svg ", '<svg role="img" ', 1)
    return f"{head}{end}\n <desc>{described}</desc>{rest}".encode()


def _printable(text: str) -> str:
    """Text with nothing in it that XML forbids."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)
