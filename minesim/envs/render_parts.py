"""What pictures of environments share: page, colours, panels over the last day, the local clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_PX: Final = 1280
HEIGHT_PX: Final = 720
DPI: Final = 100
INK, GREY, FAINT, PAPER = "#1f2933", "#7b8794", "#d9dee4", "#ffffff"
PRICE, POWER, COOLING, CHIP, INTAKE, OUTDOORS, ALARM = (
    "#b8860b",
    "#0072b2",
    "#56b4e9",
    "#d55e00",
    "#cc79a7",
    "#009e73",
    "#b00020",
)

Record = Mapping[str, float]
Box = tuple[float, float, float, float]
Numbers = npt.NDArray[np.float64]


def page() -> Figure:
    """An empty picture; matplotlib's global state is left alone.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """A drawn page as (H, W, 3) uint8."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()


def hours_back(day: Sequence[Record], dt_s: float) -> Numbers:
    """Edges of the last day's steps in hours from now, (steps + 1,)."""
    hours: Numbers = (np.arange(len(day) + 1) - len(day)).astype(np.float64) * (dt_s / 3600.0)
    return hours


def day_panels(figure: Figure, places: Mapping[str, Box], ticks: Sequence[tuple[float, str]], told: bool) -> list[Axes]:
    """Axes over the last day, one for each title; they say so where no step has been taken yet."""
    panels = []
    for title, place in places.items():
        axes = figure.add_axes(place)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.grid(color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8.5, colors=INK, length=3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_xlim(-24.0, 0.0)
        axes.set_xticks([hour for hour, _ in ticks], [label for _, label in ticks])
        if not told:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no step yet", transform=axes.transAxes, color=GREY, ha="center", va="center")
        panels.append(axes)
    return panels


def clock_ticks(now: np.datetime64, zone: str) -> list[tuple[float, str]]:
    """Hours from now of the local clock's every third hour in the last day, with their labels."""
    first = now.astype("datetime64[h]") - np.timedelta64(24, "h")
    ticks = []
    for hour in range(25):
        moment = (first + np.timedelta64(hour, "h")).astype("datetime64[s]")
        local = local_time(moment, zone)
        before_h = float((moment - now) / np.timedelta64(1, "h"))
        if local.hour % 3 == 0 and before_h >= -24.0:
            ticks.append((before_h, local.strftime("%H:%M")))
    return ticks


def local_time(moment: np.datetime64, zone: str) -> Any:
    """A UTC moment on the local clock (pandas Timestamp)."""
    import pandas as pd

    return pd.Timestamp(moment).tz_localize("UTC").tz_convert(zone)


def series(day: Sequence[Record], name: str) -> Numbers:
    """A value of the last day by step."""
    return np.array([record[name] for record in day])


def legend(axes: Axes) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.98),
        ncols=4,
        fontsize=8.5,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
        borderaxespad=0.0,
    )
