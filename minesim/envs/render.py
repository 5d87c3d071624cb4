"""A picture of a site and its last day, as an RGB array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from minesim.control.observe import FAULT_AGE_S
from minesim.envs.render_parts import (
    ALARM,
    CHIP,
    COOLING,
    GREY,
    INK,
    INTAKE,
    OUTDOORS,
    PAPER,
    POWER,
    PRICE,
    Numbers,
    Record,
    clock_ticks,
    day_panels,
    hours_back,
    legend,
    local_time,
    page,
    pixels,
    series,
)
from minesim.errors import TelemetryError, explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from minesim.envs.core import SiteCore

BOXES_MAX: Final = 36
"""Up to this many cohorts each gets a box with text; more are drawn as a mosaic, one patch a model."""
PATCHES_MAX: Final = 8
TEMP_COLOURS: Final = ((20.0, "#d6e6f2"), (50.0, "#f4f1de"), (70.0, "#f9d58f"), (80.0, "#ee8b3a"), (90.0, "#a8071a"))
"""Chip temperature and colour: calm at the firmware's set point, alarming above the usual limit."""
PRICE_LINEAR_USD_PER_MWH: Final = 500.0
"""Prices beyond it are drawn on a symmetric logarithm, so that a spike does not flatten the day."""
PRICE_TICKS: Final = (-2000, -500, 0, 250, 500, 1000, 2000, 5000, 9000)
OFF_FILL, BOOTING_FILL, ALARM_FILL = "#e7eaee", "#c3b5e3", "#7a0018"
HASHING, RAMPING, BOOTING, OFF, TRIPPED, SILENT = "hashing", "ramping up", "booting", "off", "tripped", "no answer"
STATES: Final = (HASHING, RAMPING, BOOTING, OFF, TRIPPED, SILENT)


@dataclass(frozen=True)
class CohortView:
    """One cohort as it is drawn.

    Attributes:
        model: hardware model without its maker.
        count: miners.
        state: one of :data:`STATES`.
        level: drawn power as a share of rated power.
        level_set: commanded power as a share of rated power.
        temp_chip_c: hottest chip, degC.
    """

    model: str
    count: int
    state: str
    level: float
    level_set: float
    temp_chip_c: float


def cohort_views(core: SiteCore, site: int = 0) -> tuple[CohortView, ...]:
    """What one site of a core shows of its cohorts: readings where there are any, else what firmware and command say.

    Args:
        core: a core that has been reset.
        site: row of the batch.

    Returns:
        One view a cohort.

    Raises:
        TelemetryError: the core has not been reset yet.
    """
    if not hasattr(core, "telemetry"):
        raise TelemetryError(explain("the site has no readings yet", fix="Call reset before render."))
    telemetry, memory, history = core.telemetry, core.state.firmware, core.history
    curves = core.world.params.curves
    rows = {
        "running": memory.running,
        "tripped": memory.tripped,
        "wait_s": memory.wait_s,
        "age_s": telemetry.age_s,
        "power_w": telemetry.power_w,
        "temp_chip_c": telemetry.temp_chip_c,
        "command_w": history.command_w,
    }
    row = {name: _host(value[site]) for name, value in rows.items()}
    ramp_s = core.world.params.firmware.ramp_s
    return tuple(
        CohortView(
            model=model.removeprefix("Antminer "),
            count=round(float(curves.count[m])),
            state=_state_name(
                *(float(row[name][m]) for name in ("age_s", "tripped", "running", "wait_s")), ramp_s=ramp_s
            ),
            level=float(row["power_w"][m] / curves.power_rated_w[m]),
            level_set=float(row["command_w"][m] / curves.power_rated_w[m]),
            temp_chip_c=float(row["temp_chip_c"][m]),
        )
        for m, model in enumerate(curves.models)
    )


def _host(values: Any) -> Numbers:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values, np.float64)


def _state_name(age_s: float, tripped: float, running: float, wait_s: float, *, ramp_s: float) -> str:
    if age_s > FAULT_AGE_S:
        return SILENT
    if tripped > 0.5:
        return TRIPPED
    if running < 0.5:
        return OFF
    if wait_s > 0.0:
        return BOOTING
    return RAMPING if wait_s > -ramp_s else HASHING


def draw_site(core: SiteCore, day: Sequence[Record]) -> npt.NDArray[np.uint8]:
    """Draw a site (its first, if there are several) and its last day.

    Cohorts are boxes coloured by chip temperature; the bar in a box is the drawn power, its mark the commanded one. A
    site of many cohorts is drawn as a mosaic by model. matplotlib's global state is left alone.

    Args:
        core: the stepped sites, after a reset.
        day: the ``info`` of the last steps, oldest first, at most a day; may be empty.

    Returns:
        Image, (H, W, 3) uint8.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TelemetryError: the core has not been reset yet.
    """
    views = cohort_views(core)
    figure = page()
    draw_header(figure, core, day)
    _draw_cohorts(figure, core, views)
    _draw_day(figure, core, day)
    return pixels(figure)


# ---------------------------------------------------------------------- header


def now_utc(core: SiteCore) -> np.datetime64:
    """The moment that the first site of a core has come to."""
    start = core.world.table.start_utc[int(core.start_row[0])].astype("datetime64[s]")
    return np.datetime64(start, "s") + np.timedelta64(round(int(core.step_count[0]) * core.world.config.dt_ctrl_s), "s")


def draw_header(figure: Figure, core: SiteCore, day: Sequence[Record]) -> None:
    """What and when it is, and the headline numbers of the last step and the last day."""
    world = core.world
    spec = world.config.site
    title = f"{spec if isinstance(spec, str) else spec.name}, {world.scenario.name}"
    moment = local_time(now_utc(core), core.world.scenario.site_timezone).strftime("%a %Y-%m-%d %H:%M %Z")
    figure.text(0.02, 0.955, title, fontsize=15, color=INK, weight="bold", va="center")
    figure.text(
        0.02,
        0.915,
        f"{moment}    tariff {world.scenario.tariff.name}    limits {world.limits.name}",
        fontsize=10,
        color=GREY,
        va="center",
    )
    for x, (label, value) in zip((0.56, 0.67, 0.77, 0.87), _headline(day), strict=True):
        figure.text(x, 0.918, label, fontsize=9, color=GREY, va="center")
        figure.text(x, 0.955, value, fontsize=13, color=INK, weight="bold", va="center")


def _headline(day: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    labels = ("price, USD/MWh", "site power", "hashrate", "profit shown, USD")
    if not day:
        return tuple((label, "-") for label in labels)
    last = day[-1]
    values = (
        f"{last['energy_price_usd_per_mwh']:,.2f}",
        _scaled(last["power_site_kw"] * 1e3, "W"),
        _scaled(last["hashrate_ths"] * 1e12, "H/s"),
        f"{sum(record['profit_usd'] for record in day):,.2f}",
    )
    return tuple(zip(labels, values, strict=True))


def _scaled(value: float, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = min(max(int(math.log10(value) // 3), 0), len(prefixes) - 1) if value >= 1.0 else 0
    return f"{value / 10.0 ** (3 * power):.3g} {prefixes[power]}{unit}"


# ---------------------------------------------------------------------- cohorts


def _colours(temps_c: Numbers) -> Numbers:
    """Colours of chip temperatures, (n, 3)."""
    from matplotlib.colors import to_rgb

    at = [temp for temp, _ in TEMP_COLOURS]
    parts = np.array([to_rgb(colour) for _, colour in TEMP_COLOURS])
    return np.stack([np.interp(temps_c, at, parts[:, channel]) for channel in range(3)], axis=-1)


def _fills(views: Sequence[CohortView]) -> Numbers:
    """Colours of cohorts, (n, 3): chip temperature while powered, else grey."""
    from matplotlib.colors import to_rgb

    colours = _colours(np.array([view.temp_chip_c for view in views]))
    cold = np.array([view.state in (OFF, TRIPPED, SILENT) for view in views])
    return np.where(cold[:, None], to_rgb(OFF_FILL), colours)


def _ink_on(fill: Numbers) -> str:
    luma = float(fill @ np.array([0.299, 0.587, 0.114]))
    return INK if luma > 0.5 else PAPER


def _draw_cohorts(figure: Figure, core: SiteCore, views: Sequence[CohortView]) -> None:
    from matplotlib.patches import Patch

    axes = figure.add_axes((0.02, 0.13, 0.48, 0.75))
    axes.set_axis_off()
    as_boxes = len(views) <= BOXES_MAX
    if as_boxes:
        _draw_boxes(axes, views)
    else:
        _draw_mosaic(axes, views)
    _draw_scale(figure, core)
    handles = []
    for state in STATES:
        group = [view for view in views if view.state == state]
        if group:
            patch = Patch(label=f"{sum(view.count for view in group):,} {state}", **_look(state, as_boxes))
            handles.append(patch)
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(0.015, 0.045),
        ncols=len(handles),
        fontsize=9.5,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.0,
        labelcolor=INK,
    )


def _look(state: str, as_box: bool) -> dict[str, Any]:
    """Fill and outline that tell a state apart; a patch of the mosaic has no outline, so its fill tells it."""
    hot = TEMP_COLOURS[2][1]
    if as_box:
        edges = {RAMPING: INK, BOOTING: INK, TRIPPED: ALARM, SILENT: ALARM}
        styles = {RAMPING: (0, (1, 2)), BOOTING: (0, (4, 3)), SILENT: (0, (4, 3))}
        return {
            "facecolor": OFF_FILL if state in (OFF, TRIPPED, SILENT) else hot,
            "edgecolor": edges.get(state, "none"),
            "linestyle": styles.get(state, "-"),
            "linewidth": 1.6,
        }
    fills = {OFF: OFF_FILL, BOOTING: BOOTING_FILL, TRIPPED: ALARM_FILL, SILENT: GREY}
    return {"facecolor": fills.get(state, hot), "edgecolor": "none"}


def _draw_boxes(axes: Axes, views: Sequence[CohortView]) -> None:
    from matplotlib.patches import Rectangle

    columns = max(math.ceil(math.sqrt(len(views))), 2)
    rows = max(math.ceil(len(views) / columns), 3)
    axes.set_xlim(0.0, columns)
    axes.set_ylim(rows, 0.0)
    size = min(34.0 / columns, 13.0)
    fills = _fills(views)
    for index, view in enumerate(views):
        x, y = index % columns + 0.03, index // columns + 0.04
        width, height = 0.94, 0.92
        fill = fills[index]
        ink = _ink_on(fill)
        axes.add_artist(Rectangle((x, y), width, height, **(_look(view.state, True) | {"facecolor": fill})))
        texts = (
            (0.13, view.model, size, "bold"),
            (0.33, f"{view.count:,} miner{'s' if view.count > 1 else ''}", size, "normal"),
            (0.56, f"{view.temp_chip_c:.0f} °C   {100.0 * view.level:.0f} %", 1.3 * size, "bold"),
            (0.76, view.state, size, "normal"),
        )
        for share, text, points, weight in texts:
            axes.text(
                x + 0.06, y + share * height, text, fontsize=points, weight=weight, color=ink, va="center", clip_on=True
            )
        _draw_bar(axes, view, (x + 0.06, y + 0.87 * height), width - 0.12, 0.05 * height, ink)


def _draw_bar(axes: Axes, view: CohortView, corner: tuple[float, float], width: float, height: float, ink: str) -> None:
    from matplotlib.patches import Rectangle

    x, y = corner
    axes.add_artist(Rectangle((x, y), width, height, facecolor=ink, alpha=0.18, edgecolor="none"))
    axes.add_artist(Rectangle((x, y), width * min(max(view.level, 0.0), 1.0), height, facecolor=ink, edgecolor="none"))
    mark = x + width * min(max(view.level_set, 0.0), 1.0)
    axes.plot([mark, mark], [y - 0.7 * height, y + 1.7 * height], color=ink, linewidth=1.6)


def _groups(views: Sequence[CohortView]) -> list[tuple[str, list[CohortView]]]:
    """Cohorts by model, most miners first; the small ones together."""
    by_model: dict[str, list[CohortView]] = {}
    for view in views:
        by_model.setdefault(view.model, []).append(view)
    ranked = sorted(by_model.items(), key=lambda item: -sum(view.count for view in item[1]))
    if len(ranked) <= PATCHES_MAX:
        return ranked
    rest = ranked[PATCHES_MAX - 1 :]
    merged = [view for _, group in rest for view in group]
    return [*ranked[: PATCHES_MAX - 1], (f"{len(rest)} other models", merged)]


def _draw_mosaic(axes: Axes, views: Sequence[CohortView]) -> None:
    groups = _groups(views)
    caption = 0.6
    total = sum(len(group) for _, group in groups)
    # Heights follow the numbers of cohorts, but no patch gets too thin to see.
    heights = [max(len(group) / total * len(groups), 0.35) for _, group in groups]
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(sum(heights) + caption * len(groups), 0.0)
    box = axes.get_window_extent()
    px_per_unit = box.height / (sum(heights) + caption * len(groups))
    top = 0.0
    for (model, group), height in zip(groups, heights, strict=True):
        running = [view for view in group if view.state == HASHING]
        mean_c = float(np.mean([view.temp_chip_c for view in running])) if running else math.nan
        told = f"hashing {len(running):,}" + (f", mean {mean_c:.0f} °C" if running else "")
        level = sum(view.level * view.count for view in group) / sum(view.count for view in group)
        axes.text(0.0, top + 0.62 * caption, model, fontsize=9.5, weight="bold", color=INK, va="center")
        axes.text(
            1.0,
            top + 0.62 * caption,
            f"{len(group):,} cohorts, {sum(v.count for v in group):,} miners, {told}, power {100.0 * level:.0f} %",
            fontsize=8.5,
            color=INK,
            va="center",
            ha="right",
        )
        columns = max(1, math.ceil(math.sqrt(len(group) * box.width / (height * px_per_unit))))
        rows = math.ceil(len(group) / columns)
        image = np.ones((rows * columns, 3))
        image[: len(group)] = _mosaic_fills(group)
        axes.imshow(
            image.reshape(rows, columns, 3),
            extent=(0.0, 1.0, top + caption + height, top + caption),
            aspect="auto",
            interpolation="nearest",
        )
        top += caption + height
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(top, 0.0)


def _mosaic_fills(group: Sequence[CohortView]) -> Numbers:
    from matplotlib.colors import to_rgb

    fills = _fills(group)
    for state in (OFF, BOOTING, TRIPPED, SILENT):
        member = np.array([view.state == state for view in group])
        fills = np.where(member[:, None], to_rgb(_look(state, False)["facecolor"]), fills)
    return fills


def _draw_scale(figure: Figure, core: SiteCore) -> None:
    axes = figure.add_axes((0.02, 0.095, 0.30, 0.014))
    low, high = TEMP_COLOURS[0][0], TEMP_COLOURS[-1][0]
    axes.imshow(_colours(np.linspace(low, high, 141))[None], extent=(low, high, 0.0, 1.0), aspect="auto")
    axes.set_yticks([])
    limit = core.world.limits.temp_chip_soft_c
    if low < limit < high:
        axes.axvline(limit, color=INK, linewidth=2.0)
    axes.tick_params(labelsize=8, length=2, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    told = ", limit marked" if math.isfinite(limit) else ""
    figure.text(0.33, 0.1, f"hottest chip, °C{told}", fontsize=9, color=INK, va="center")


# ---------------------------------------------------------------------- the last day


def _draw_day(figure: Figure, core: SiteCore, day: Sequence[Record]) -> None:
    hours = hours_back(day, core.world.config.dt_ctrl_s)
    places = {
        "energy price, USD/MWh": (0.56, 0.665, 0.42, 0.20),
        "power, kW": (0.56, 0.385, 0.42, 0.20),
        "temperature, °C": (0.56, 0.075, 0.42, 0.23),
    }
    panels = day_panels(figure, places, clock_ticks(now_utc(core), core.world.scenario.site_timezone), bool(day))
    if not day:
        return
    draw_price(panels[0], hours, series(day, "energy_price_usd_per_mwh"))
    draw_power(panels[1], core, hours, day)
    draw_temps(panels[2], core, hours, day)


def draw_price(axes: Axes, hours: Numbers, price: Numbers) -> None:
    """Energy price by step; spikes on a symmetric logarithm."""
    axes.stairs(price, hours, color=PRICE, linewidth=1.8, baseline=None)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    low, high = min(float(price.min()), 0.0), max(float(price.max()), 1.0)
    if max(-low, high) > PRICE_LINEAR_USD_PER_MWH:
        axes.set_yscale("symlog", linthresh=PRICE_LINEAR_USD_PER_MWH)
        inside = [tick for tick in PRICE_TICKS if 1.3 * low <= tick <= 1.3 * high]
        axes.set_yticks(inside, [f"{tick:,}" for tick in inside])
        axes.minorticks_off()
        axes.set_ylim(1.3 * low, 1.3 * high)
    else:
        margin = 0.08 * (high - low)
        axes.set_ylim(low - (margin if low < 0.0 else 0.0), high + margin)


def draw_power(axes: Axes, core: SiteCore, hours: Numbers, day: Sequence[Record]) -> None:
    """Power of the site and of its cooling beside the fleet's rating."""
    site_kw, cooling_kw = series(day, "power_site_kw"), series(day, "power_cooling_kw")
    rated_kw = core.world.params.curves.power_rated_site_w * 1e-3
    axes.stairs(site_kw, hours, fill=True, color=POWER, alpha=0.25)
    axes.stairs(site_kw, hours, color=POWER, linewidth=1.8, baseline=None, label="site")
    axes.stairs(cooling_kw, hours, color=COOLING, linewidth=1.8, baseline=None, label="room fans and pad")
    axes.axhline(rated_kw, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), label="rated")
    axes.set_ylim(0.0, 1.12 * max(rated_kw, float(site_kw.max())))
    legend(axes)


def draw_temps(axes: Axes, core: SiteCore, hours: Numbers, day: Sequence[Record]) -> None:
    """Hottest chip, intakes and outdoor air."""
    for name, colour, label in (
        ("temp_chip_max_c", CHIP, "hottest chip"),
        ("temp_intake_c", INTAKE, "intake"),
        ("temp_amb_c", OUTDOORS, "outdoors"),
    ):
        axes.stairs(series(day, name), hours, color=colour, linewidth=1.8, baseline=None, label=label)
    limit = core.world.limits.temp_chip_soft_c
    if math.isfinite(limit):
        axes.axhline(limit, color=ALARM, linewidth=1.0, linestyle=(0, (4, 3)), label="chip limit")
    axes.margins(y=0.08)
    legend(axes)
