"""A plan as a picture: memory over context with the limits, speed over price with the front.

The only module that imports matplotlib, and only when something is drawn.
"""

from __future__ import annotations

import contextlib
import html
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.escape import escape, quoted
from ggufctl.core.plan import engine_args
from ggufctl.core.units import GIB, format_gib, format_tokens, format_usd
from ggufctl.errors import UsageError
from ggufctl.render.plan import at_price, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ggufctl.services.picture import Curve, Limit, Picture, Point

__all__ = ["SUFFIXES", "check_path", "draw", "write_plot"]

SUFFIXES = (".png", ".svg", ".html")

SIZE = (12.0, 5.6)
"""Width and height.  [inches]"""

DPI = 150

# Told apart by the colour-blind too, and each curve has a dash of its own.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#8A3A78"
INK, GREY, FAINT = "#222222", "#767676", "#c4c4c4"
CURVES = ((BLUE, "-"), (PURPLE, (0, (6, 2))), (GREEN, (0, (2, 1.5))))
PICK = ORANGE

_TITLE = 128
_FLAGS = 80
_SOURCE = f"ggufctl · memory as llama.cpp {LLAMA_CPP_BUILD} allocates it · prices of the GPUs alone"
_SHORT = {"A100-40GB": "A100-40", "A100-80GB": "A100-80", "RTX-PRO-6000": "RTX6000"}
_NARROW = 6
"""A scale that spans less, as a factor, has more ticks."""

_FAR = 12
"""From here on a line leads to a label.  [points]"""

_LABELS = 1.035
_COLUMNS = (0.0, 0.255, 0.36)
"""Where the columns of the labels beside the limits begin or end, in widths of a panel."""

_OUTLINE = 2.5
"""Of text over lines.  [points]"""

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "ggufctl",
    "svg.fonttype": "path",
}


def check_path(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises: UsageError for a suffix that is none of `SUFFIXES`, or a place that is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{quoted(str(path))} ends in none of {', '.join(SUFFIXES)}.",
            "The end of the name says what is drawn, such as plan.png.",
        )
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{quoted(str(path))} cannot be written there.")


def write_plot(picture: Picture, path: Path) -> None:
    """Draw a plan into a file, which is there whole or not at all.

    Raises: UsageError when the name or the place is no good.
    """
    check_path(path)
    content = draw(picture, path.suffix.lower())
    try:
        _replace(path, content)
    except OSError as error:
        raise UsageError(f"{quoted(str(path))} cannot be written: {error.strerror}.") from None


def _replace(path: Path, content: bytes) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # As any other new file: readable as the user's mask says.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def draw(picture: Picture, suffix: str) -> bytes:
    """The content of a picture in one of the formats of `SUFFIXES`."""
    with _matplotlib():
        figure = _figure(picture)
        kind = "png" if suffix == ".png" else "svg"
        # No date and no version: the same plan makes the same file.
        nothing: dict[str, Any] = {"Software": None} if kind == "png" else {"Date": None}
        target = io.BytesIO()
        figure.savefig(target, format=kind, dpi=DPI, facecolor="white", metadata=nothing)
    content = target.getvalue()
    return _page(picture, content.decode()).encode() if suffix == ".html" else content


@contextlib.contextmanager
def _matplotlib() -> Iterator[None]:
    """The library as it comes, whatever the user's own settings, and silent."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Names may hold characters that the font lacks: they are drawn as boxes.
        warnings.simplefilter("ignore")
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            yield


def _figure(picture: Picture) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE)
    memory, cost = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.1, 1.0)})
    figure.subplots_adjust(left=0.06, right=0.985, top=0.80, bottom=0.135, wspace=0.6)
    _draw_title(figure, headline(picture.plan))
    figure.text(0.012, 0.892, _subtitle(picture), fontsize=10, color=GREY, va="center")
    _draw_memory(memory, picture)
    _draw_cost(cost, picture)
    figure.text(0.012, 0.018, _source(picture), fontsize=7.5, color=GREY, va="bottom")
    return figure


def _source(picture: Picture) -> str:
    """What the figures rest on."""
    days = sorted({row.gpu.price_as_of for row in picture.plan.gpus})
    return f"{_SOURCE}, of {' and '.join(days)}" if days else _SOURCE


def _draw_title(figure: Figure, text: str) -> None:
    """The title as large as fits, and cut in its middle where even small it does not."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    title = figure.text(0.012, 0.945, "", fontweight="bold", va="center")
    room = 0.976 * figure.bbox.width
    for size, length in ((13.0, 0), (11.5, 0), *((10.0, n) for n in range(_TITLE, 20, -6))):
        title.set_fontsize(size)
        shown = text
        if length and len(text) > length:
            shown = f"{text[: length // 3]}…{text[len(text) - length * 2 // 3 :]}"
        title.set_text(shown)
        if title.get_window_extent(renderer).width <= room:
            return


def _subtitle(picture: Picture) -> str:
    plan = picture.plan
    flags = " ".join(engine_args(plan.runtime))
    for usual in (" -ngl all", " -fit off"):
        flags = flags.replace(usual, "")
    parts = [escape(flags, _FLAGS)]
    if plan.choice is None:
        parts.append("fits nothing that is allowed")
    else:
        row = plan.choice.row
        used, usable = format_gib(row.used_bytes), format_gib(row.usable_bytes_per_gpu)
        each = " each" if row.count > 1 else ""
        parts.append(
            f"pick: {row.label}{at_price(row)}, "
            f"{used} of {usable} GiB{each}, up to -c {row.max_n_ctx}"
        )
    return "   ".join(parts)


# Memory over context.


def _draw_memory(axes: Axes, picture: Picture) -> None:
    from matplotlib import patheffects

    plan = picture.plan
    axes.set_title("Memory of each GPU over context", loc="left", fontsize=11, fontweight="bold")
    if not picture.curves:
        axes.set_axis_off()
        text = "Nobody has published the memory of what may be rented."
        axes.text(0, 0.94, text, transform=axes.transAxes, va="top")
        return
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    first = picture.curves[0].points
    left, right = first[0][0], first[-1][0]
    right = max(right, left * 2)
    axes.set_xlim(left, right)
    needs = [n_bytes / GIB for curve in picture.curves for _, n_bytes in curve.points]
    tops = [limit.usable_bytes / GIB for limit in picture.limits]
    axes.set_ylim(min(needs + tops) * 0.82, max(needs + tops) * 1.18)
    _ticks(axes, left, right)
    axes.set_xlabel("context, -c [tokens]")
    axes.set_ylabel("GiB of each GPU")
    axes.axvline(plan.runtime.n_ctx, color=FAINT, linewidth=1, zorder=0)
    halo: list[Any] = [patheffects.withStroke(linewidth=_OUTLINE, foreground="white")]
    for limit in picture.limits:
        color = PICK if limit.is_pick else (GREY if limit.fits else FAINT)
        axes.axhline(
            limit.usable_bytes / GIB,
            color=color,
            linewidth=2.0 if limit.is_pick else 0.9,
            zorder=2 if limit.is_pick else 1,
        )
    for curve, (color, dashes) in zip(picture.curves, CURVES, strict=False):
        xs = [n_ctx for n_ctx, _ in curve.points]
        ys = [n_bytes / GIB for _, n_bytes in curve.points]
        if len(xs) == 1:
            # One context is all there is: a line shows it better than a point.
            xs, ys = [left, right], ys * 2
        axes.plot(xs, ys, color=color, linestyle=dashes, linewidth=2.4, zorder=3)
        _mark_limits(axes, curve, picture.limits, color)
    _label_curves(axes, picture)
    _label_limits(axes, picture.limits)
    asked = axes.annotate(
        f"-c {format_tokens(plan.runtime.n_ctx)}",
        (plan.runtime.n_ctx, 0.012),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=8,
        color=GREY,
    )
    asked.set_path_effects(halo)


def _label_curves(axes: Axes, picture: Picture) -> None:
    """What each curve is, written along it where nothing else is."""
    placer = _Placer(axes)
    left, right = axes.get_xlim()
    for limit in picture.limits:
        placer.avoid(left, limit.usable_bytes / GIB, right, limit.usable_bytes / GIB, 0.6)
    for curve in picture.curves:
        for (x0, y0), (x1, y1) in pairwise(curve.points):
            placer.avoid(x0, y0 / GIB, x1, y1 / GIB, 1.0)
    for curve, (color, _) in zip(picture.curves, CURVES, strict=False):
        text = "needed on 1 GPU" if curve.count == 1 else f"needed on each of {curve.count} GPUs"
        spots = []
        for share in (0.0, 0.3, 0.6):
            n_ctx, n_bytes = curve.points[int(share * (len(curve.points) - 1))]
            spots += [
                _Spot(n_ctx, n_bytes / GIB, 5, dy, "left", "bottom" if dy > 0 else "top", cost)
                for dy, cost in ((4, 0), (-4, 20), (9, 60), (-9, 80))
            ]
        placer.put(text, spots, color, is_bold=True)


def _mark_limits(axes: Axes, curve: Curve, limits: Sequence[Limit], color: str) -> None:
    """A dot where a curve meets the limit of GPUs that hold the model: the largest context."""
    last = curve.points[-1][0]
    for limit in limits:
        if not limit.fits or limit.count != curve.count or not 0 < limit.max_n_ctx < last:
            continue
        height = _height(curve, limit.max_n_ctx) / GIB
        axes.plot(
            [limit.max_n_ctx],
            [height],
            marker="o",
            markersize=8 if limit.is_pick else 5,
            color=PICK if limit.is_pick else color,
            markeredgecolor="white",
            zorder=6 if limit.is_pick else 4,
        )


def _height(curve: Curve, n_ctx: int) -> float:
    """Memory at a context, on the lines between the points.  [bytes]"""
    for (x0, y0), (x1, y1) in pairwise(curve.points):
        if x0 <= n_ctx <= x1:
            return y0 + (y1 - y0) * (n_ctx - x0) / max(1, x1 - x0)
    return curve.points[-1][1]


def _label_limits(axes: Axes, limits: Sequence[Limit]) -> None:
    """Names at the right end of the lines, moved apart where lines are close."""
    low, high = (log2(value) for value in axes.get_ylim())
    wanted = [(log2(limit.usable_bytes / GIB) - low) / (high - low) for limit in limits]
    places = _spread(wanted, 0.052)
    heading = max(places, default=1.0) + 0.06
    for column, text in zip(_COLUMNS, ("GPU", "GiB", "max -c"), strict=True):
        _beside(axes, column, heading, text, GREY)
    for limit, at, place in zip(limits, wanted, places, strict=True):
        color = PICK if limit.is_pick else (INK if limit.fits else GREY)
        axes.annotate(
            "",
            (1.0, at),
            xycoords="axes fraction",
            xytext=(_LABELS - 0.005, place),
            textcoords="axes fraction",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color if limit.is_pick else FAINT,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        many = f"{limit.count}×" if limit.count > 1 else ""
        texts = (
            f"{many}{_SHORT.get(limit.gpu, limit.gpu)}",
            format_gib(limit.usable_bytes),
            format_tokens(limit.max_n_ctx) if limit.fits else "-",
        )
        for column, text in zip(_COLUMNS, texts, strict=True):
            _beside(axes, column, place, text, color, is_bold=limit.is_pick)


def _beside(
    axes: Axes, column: float, place: float, text: str, color: str, *, is_bold: bool = False
) -> None:
    axes.text(
        _LABELS + column,
        place,
        text,
        transform=axes.transAxes,
        ha="right" if column else "left",
        va="center",
        fontsize=8.5,
        color=color,
        fontweight="bold" if is_bold else "normal",
    )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising places moved as little as needed to be `gap` apart, within 0 and 1."""
    found = list(places)
    for _ in range(200):
        is_done = True
        for i in range(len(found) - 1):
            lack = gap - (found[i + 1] - found[i])
            if lack > 1e-6:
                found[i] -= lack / 2
                found[i + 1] += lack / 2
                is_done = False
        if found and found[-1] > 1:
            found[-1] = 1
        if found and found[0] < 0:
            found[0] = 0
        if is_done:
            break
    return found


def _ticks(axes: Axes, left: int, right: int) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    powers = [1 << n for n in range(31) if left <= 1 << n <= right]
    axes.xaxis.set_major_locator(FixedLocator(powers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_tokens(round(x))))
    low, high = axes.get_ylim()
    steps = (1.0,) if high / low > 8 else (1.0, 1.5) if high / low > 3 else (1, 1.25, 1.5, 1.75)
    sizes = [2.0**n * step for n in range(-8, 14) for step in steps]
    axes.yaxis.set_major_locator(FixedLocator([size for size in sizes if low <= size <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


# Speed over price.


def _draw_cost(axes: Axes, picture: Picture) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    title = "Speed over price" if picture.points else "What would fit"
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    if not picture.points:
        _say_what_fits(axes, picture)
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    prices = [point.usd_per_hour for point in picture.points]
    speeds = [point.tokens_per_s for point in picture.points]
    axes.set_xlim(min(prices) * 0.66, max(prices) * 1.5)
    axes.set_ylim(min(s.low for s in speeds) * 0.75, max(s.high for s in speeds) * 1.35)
    for axis, text, ends in (
        (axes.xaxis, _dollars, axes.get_xlim()),
        (axes.yaxis, _thousands, axes.get_ylim()),
    ):
        steps = (1, 2, 5) if ends[1] / ends[0] > _NARROW else (1, 1.5, 2, 3, 4, 5, 6, 8)
        axis.set_major_locator(LogLocator(base=10, subs=steps))
        axis.set_major_formatter(FuncFormatter(lambda value, _, text=text: text(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(color="#eeeeee", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("price of the GPUs [US dollars per hour]")
    said = f"one stream, {picture.depth_tokens:,} tokens in use [tokens/s]"
    axes.set_ylabel("texts read [tokens/s]" if picture.embeds else said)
    front = sorted((p for p in picture.points if p.on_front), key=lambda p: p.usd_per_hour)
    axes.plot(
        [p.usd_per_hour for p in front],
        [p.tokens_per_s.best for p in front],
        color=BLUE,
        linewidth=1.8,
        drawstyle="steps-post",
        zorder=2,
    )
    for point in picture.points:
        _draw_point(axes, point)
    _label_points(axes, picture.points)
    axes.text(
        0.985,
        0.03,
        "line: nothing is both cheaper and faster\nbars: how far off the estimate may be",
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        color=GREY,
    )


def _dollars(value: float) -> str:
    return f"${value:g}"


def _thousands(value: float) -> str:
    return f"{value:g}" if value < 10_000 else f"{value / 1000:g}k"


def _color(point: Point) -> str:
    return PICK if point.is_pick else BLUE if point.on_front else GREY


def _draw_point(axes: Axes, point: Point) -> None:
    speed = point.tokens_per_s
    axes.errorbar(
        [point.usd_per_hour],
        [speed.best],
        yerr=[[speed.best - speed.low], [speed.high - speed.best]],
        color=_color(point),
        ecolor=FAINT,
        elinewidth=1.4,
        marker="D" if point.is_pick else "o",
        markersize=9 if point.is_pick else 6,
        markeredgecolor="white",
        zorder=4 if point.is_pick else 3,
    )


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Each name where it covers no other name, nor a mark."""
    placer = _Placer(axes)
    for point in points:
        placer.avoid_mark(point.usd_per_hour, point.tokens_per_s.best)
        speed = point.tokens_per_s
        placer.avoid(point.usd_per_hour, speed.low, point.usd_per_hour, speed.high, 0.3)
    front = sorted((p for p in points if p.on_front), key=lambda p: p.usd_per_hour)
    for a, b in pairwise(front):
        slow, fast = a.tokens_per_s.best, b.tokens_per_s.best
        placer.avoid(a.usd_per_hour, slow, b.usd_per_hour, slow, 0.5)
        placer.avoid(b.usd_per_hour, slow, b.usd_per_hour, fast, 0.5)
    for point in sorted(points, key=lambda p: (not p.is_pick, not p.on_front, p.usd_per_hour)):
        x, y = point.usd_per_hour, point.tokens_per_s.best
        spots = [
            _Spot(x, y, dx * far, dy * far, ha, va, 250 * (far - 1))
            for far in (1.0, 1.8, 2.8, 4.0)
            for dx, dy, ha, va in _DIRECTIONS
        ]
        placer.put(_point_text(point), spots, _color(point), is_bold=point.is_pick)


_DIRECTIONS: tuple[tuple[float, float, Any, Any], ...] = (
    (-6, 5, "right", "bottom"),
    (6, -5, "left", "top"),
    (6, 5, "left", "bottom"),
    (-6, -5, "right", "top"),
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
)
"""Where a name may stand beside its mark.  [points]"""


class _Spot(NamedTuple):
    """A place for a label: beside what, how far, and how bad a choice it is."""

    x: float
    y: float
    dx: float
    dy: float
    ha: Any
    va: Any
    cost: float


class _Placer:
    """Writes labels where they cover the least of what is there already."""

    def __init__(self, axes: Axes) -> None:
        from matplotlib import patheffects
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure: Any = axes.get_figure()
        canvas: Any = FigureCanvasAgg(figure)
        self._axes = axes
        self._renderer = canvas.get_renderer()
        self._frame = axes.get_window_extent(self._renderer)
        self._taken: list[tuple[Any, float]] = []
        self._halo: list[Any] = [patheffects.withStroke(linewidth=_OUTLINE, foreground="white")]

    def avoid(self, x0: float, y0: float, x1: float, y1: float, weight: float) -> None:
        """A line that labels had better not cover."""
        from matplotlib.transforms import Bbox

        (left, low), (right, high) = self._axes.transData.transform([(x0, y0), (x1, y1)])
        box = Bbox.from_extents(left - 2, min(low, high) - 2, right + 2, max(low, high) + 2)
        self._taken.append((box, weight))

    def avoid_mark(self, x: float, y: float) -> None:
        """A mark that labels must not cover."""
        from matplotlib.transforms import Bbox

        at, height = self._axes.transData.transform((x, y))
        self._taken.append((Bbox.from_extents(at - 6, height - 6, at + 6, height + 6), 3.0))

    def put(self, text: str, spots: Sequence[_Spot], color: str, *, is_bold: bool) -> None:
        """Write a label at the best of some places; a line leads to it from afar."""
        weight: Any = "bold" if is_bold else "normal"
        best: tuple[float, _Spot, Any] | None = None
        label: Any = self._axes.annotate(
            text,
            spots[0][:2],
            textcoords="offset points",
            fontsize=9 if is_bold else 8.5,
            color=color,
            fontweight=weight,
            zorder=6,
        )
        label.set_path_effects(self._halo)
        for spot in spots:
            self._move(label, spot)
            box = label.get_window_extent(self._renderer)
            cost = spot.cost + sum(_overlap(box, other) * w for other, w in self._taken)
            cost += 4 * (box.width * box.height - _overlap(box, self._frame))
            if best is None or cost < best[0]:
                best = (cost, spot, box)
        assert best is not None
        _, spot, box = best
        self._move(label, spot)
        self._taken.append((box, 3.0))
        if max(abs(spot.dx), abs(spot.dy)) > _FAR:
            self._axes.annotate(
                "",
                (spot.x, spot.y),
                xytext=(spot.dx, spot.dy),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkB": 4},
                zorder=5,
            )

    @staticmethod
    def _move(label: Any, spot: _Spot) -> None:
        label.xy = (spot.x, spot.y)
        label.set_position((spot.dx, spot.dy))
        label.set_horizontalalignment(spot.ha)
        label.set_verticalalignment(spot.va)


def _overlap(a: Any, b: Any) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(width * height) if width > 0 and height > 0 else 0.0


def _point_text(point: Point) -> str:
    label = point.label
    for name, short in _SHORT.items():
        label = label.replace(name, short)
    return f"pick: {label}" if point.is_pick else label


def _say_what_fits(axes: Axes, picture: Picture) -> None:
    axes.set_axis_off()
    plan = picture.plan
    if plan.choice is not None:
        lines = ["No speed is known of what holds the model."]
    else:
        lines = [f"•  {_wrapped(step.text)}" for step in plan.ladder]
        lines = lines or ["Nothing that is known holds the model."]
    axes.text(0, 0.94, "\n".join(lines), transform=axes.transAxes, va="top", linespacing=1.6)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n    ".join(textwrap.wrap(escape(text, 300), 58))


# A page.


def _page(picture: Picture, svg: str) -> str:
    title = html.escape(headline(picture.plan))
    drawing = svg[svg.index("<svg") :]
    limits = "".join(_limit_row(limit, picture) for limit in picture.limits)
    curves = "".join(
        f"<tr><td>{n_ctx:,}</td>" + "".join(f"<td>{n:,}</td>" for n in values) + "</tr>"
        for n_ctx, values in _by_context(picture.curves)
    )
    heads = "".join(
        f"<th>on {curve.count} GPU{'s' * (curve.count > 1)}</th>" for curve in picture.curves
    )
    warned = "".join(f"<li>{html.escape(escape(text))}</li>" for text in picture.plan.warnings)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; color: #222; background: #fff; overflow-wrap: anywhere; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; margin: 0 0 2rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.pick {{ font-weight: bold; color: #a34700; }}
caption {{ text-align: left; font-weight: bold; padding: .4rem 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{html.escape(_subtitle(picture))}</p>
<figure role="img" aria-label="Memory over context, and speed over price: see the tables below.">
{drawing}</figure>
<table>
<caption>GPUs</caption>
<tr><th>GPU</th><th>may be filled [bytes]</th><th>fits</th><th>largest -c</th><th>$/h</th>
<th>tokens/s</th><th>from</th><th>to</th></tr>
{limits}</table>
<table>
<caption>Memory of each GPU [bytes] over context [tokens]</caption>
<tr><th>-c</th>{heads}</tr>
{curves}</table>
{f"<ul>{warned}</ul>" if warned else ""}
<p>{html.escape(_source(picture))}</p>
</body>
</html>
"""


def _limit_row(limit: Limit, picture: Picture) -> str:
    label = limit.gpu if limit.count == 1 else f"{limit.count}×{limit.gpu}"
    point = next((p for p in picture.points if p.label == label), None)
    cells = [label, f"{limit.usable_bytes:,}", "yes" if limit.fits else "no"]
    cells.append(f"{limit.max_n_ctx:,}" if limit.fits else "-")
    if point is None:
        cells += [""] * 4
    else:
        speed = point.tokens_per_s
        cells.append(format_usd(point.usd_per_hour))
        cells += [f"{value:.1f}" for value in (speed.best, speed.low, speed.high)]
    row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr class="pick">{row}</tr>' if limit.is_pick else f"<tr>{row}</tr>"


def _by_context(curves: Sequence[Curve]) -> Iterator[tuple[int, list[int]]]:
    for points in zip(*(curve.points for curve in curves), strict=True):
        yield points[0][0], [n_bytes for _, n_bytes in points]
