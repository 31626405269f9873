"""The outcomes as pictures: SVG, the same bytes for the same outcomes, with a title and a description in words.

Text stays text, so that it can be searched, copied and read aloud; letters are measured with matplotlib's own
font, so that no machine's fonts change the picture. Colours are told apart by people with any colour vision
(Okabe & Ito 2008), and every colour has a mark of its own.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from decimal import Decimal
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
        axes.plot(shares, heights, _mark(at), color=_colour(at), markersize=4.5, label=label, clip_on=False)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlabel("participants with at least one, % of the arm")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
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
    lines = []
    for at, level in enumerate(limiting.levels):
        told = f"{level.toxicities} of {level.evaluable}"
        waiting = len(level.codes("open"))
        if waiting:
            told += f", {waiting} open"
        lines.append(f"{level.dose_level}: {told}")
        if level.rate is None or level.low is None or level.high is None:
            continue
        rate = float(level.rate)
        reach = [[max(rate - level.low, 0.0)], [max(level.high - rate, 0.0)]]
        axes.errorbar([at], [rate], yerr=reach, fmt="o", color=_COLOURS[0], capsize=5, clip_on=False)
        lines[-1] += f", rate {level.rate}, interval {level.low} to {level.high}"
    names = [f"{level.dose_level}\n{level.toxicities} / {level.evaluable}" for level in limiting.levels]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("rate of dose-limiting toxicity")
    axes.set_xlabel("dose level, participants with a toxicity / evaluable")
    if limiting.target is not None:
        axes.axhline(float(limiting.target), color=_COLOURS[1], linestyle="--", linewidth=1)
        axes.text(len(names) - 0.5, float(limiting.target), f"target {limiting.target}", va="bottom", ha="right")
        lines.append(f"the escalation rule looks for {limiting.target}")
    title = (
        f"Dose-limiting toxicity within {limiting.last_day} days by dose level, "
        f"exact {percent_of(limiting.confidence)} confidence intervals"
    )
    return _written(figure, title, lines, caption)


def _curves(curves: Sequence[Curve], told: Outcomes, caption: str) -> bytes:
    """A curve for each participant on a logarithmic axis; what is below the limit of detection, at it, hollow."""
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yscale("log")
    arms = [arm.id for arm in told.arms]
    labelled: set[str] = set()
    lines = []
    for one in curves:
        at = arms.index(one.arm)
        points = [point for point in one.points if _drawn(point)]
        label = "_" if one.arm in labelled else one.arm
        labelled.add(one.arm)
        _curve(axes, points, at, label)
        # A code beside the last point tells curves of one arm apart.
        axes.annotate(
            one.participant,
            (float(points[-1].day or 0), float(points[-1].percent)),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=6.5,
            va="center",
        )
        lines.append(
            f"{one.participant} ({one.arm}): "
            + ", ".join(f"day {point.day} {point.comparator or ''}{point.percent:f}%" for point in points)
        )
    axes.plot([], [], "v", color="#555555", fillstyle="none", label="below the limit of detection")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("day, counted from the first exposure")
    axes.set_ylabel("chimerism in blood, %")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False)
    return _written(figure, "% chimerism, a curve for each participant", lines, caption)


def _curve(axes: Axes, points: Sequence[Point], at: int, label: str) -> None:
    days = [float(point.day or 0) for point in points]
    shares = [float(point.percent) for point in points]
    axes.plot(days, shares, "-", color=_colour(at), linewidth=0.9)
    for below, mark, fill, name in ((False, _mark(at), "full", label), (True, "v", "none", "_")):
        chosen = [n for n, point in enumerate(points) if _is_below(point) == below]
        axes.plot(
            [days[n] for n in chosen],
            [shares[n] for n in chosen],
            mark,
            color=_colour(at),
            fillstyle=fill,
            markersize=4.5,
            label=name,
        )


def _drawn(point: Point) -> bool:
    """Whether a point has a place on the axes: a day, and a logarithm."""
    return point.day is not None and point.percent > 0


def _is_below(point: Point) -> bool:
    return point.comparator in {"<", "<="}


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]


def _mark(at: int) -> str:
    return _MARKS[at % len(_MARKS)]


def percent_of(confidence: Decimal) -> str:
    """A confidence of 0.95 as people write it: 95%."""
    return f"{(confidence * 100).normalize():f}%"


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
