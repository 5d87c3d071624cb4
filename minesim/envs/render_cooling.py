"""A picture of a cooled hall and its last day, as an RGB array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.catalog.layout_figure import draw_field
from minesim.catalog.layouts import layout
from minesim.envs.render_parts import (
    ALARM,
    CHIP,
    COOLING,
    INK,
    OUTDOORS,
    POWER,
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
from minesim.physics.airflow import air_flows
from minesim.tasks.cooling import setting_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from minesim.envs.cooling_core import CoolingCore
    from minesim.hall import Hall, HallOutcome

SHOWN = {"exhaust_speed": "#0072b2", "intake_speed": "#56b4e9", "pad_duty": "#009e73", "damper": "#cc79a7"}
"""Settings that are drawn as shares, means over zones, and their colours."""


def draw_hall(core: CoolingCore, day: Sequence[Record]) -> npt.NDArray[np.uint8]:
    """Draw a lone hall and its last day: the field with miners, fans and air, then temperatures, power and actions.

    Args:
        core: a lone hall, after a reset.
        day: the ``info`` of the last steps with the action's shares, oldest first, at most a day; may be empty.

    Returns:
        Image, (H, W, 3) uint8.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TelemetryError: the core has not been reset yet, or has many halls.
    """
    if not core.lone or not hasattr(core, "outcome"):
        raise TelemetryError(explain("there is no hall to draw", fix="Call reset of a single environment first."))
    figure = page()
    _draw_header(figure, core)
    draw_room(figure, core.world.config.layout_name, core.hall, core.outcome)
    _draw_day(figure, core, day)
    return pixels(figure)


def _now_utc(core: CoolingCore) -> np.datetime64:
    start = core.world.climate.time_utc[int(core.row[0])].astype("datetime64[s]")
    return np.datetime64(start, "s") + np.timedelta64(round(int(core.step_count[0]) * core.world.config.dt_s), "s")


def _draw_header(figure: Figure, core: CoolingCore) -> None:
    place, outcome = core.world.climate, core.outcome
    moment = local_time(_now_utc(core), place.site_timezone).strftime("%a %Y-%m-%d %H:%M %Z")
    figure.text(0.02, 0.955, f"{place.name}, {moment}", fontsize=15, color=INK, weight="bold", va="center")
    told = (
        f"miners {outcome.power_miners_w / 1e3:,.0f} kW, cooling {outcome.power_cooling_w / 1e3:,.1f} kW, "
        f"hottest chip {outcome.temp_hot_max_c.max():.0f} °C, intakes {outcome.temp_inlet_c.min():.1f} to "
        f"{outcome.temp_inlet_c.max():.1f} °C, supply air {float(outcome.plant.temp_supply_c):.1f} °C"
    )
    figure.text(0.02, 0.91, told, fontsize=11, color=INK, va="center")


def draw_room(figure: Figure, layout_name: str, hall: Hall, outcome: HallOutcome) -> None:
    """The air of one hall with miners, fans and flows, in the upper half of a page."""
    miners, plant = hall.miners, outcome.plant
    inputs = np.concatenate(
        [miners.count * miners.flow_max_m3_per_s * outcome.duty, plant.fan_flow_m3_per_s, plant.damper_flow_m3_per_s]
    )
    flows = air_flows(hall.room.basis, inputs, xp=NUMPY)
    axes = figure.add_axes((0.04, 0.47, 0.87, 0.40))
    draw_field(axes, layout(layout_name), hall.room.grid, flows, outcome.air_c)
    bar = figure.add_axes((0.935, 0.53, 0.012, 0.28))
    figure.colorbar(axes.images[0], cax=bar, label="air, °C")


def _draw_day(figure: Figure, core: CoolingCore, day: Sequence[Record]) -> None:
    places = {
        "temperature, °C": (0.04, 0.06, 0.28, 0.24),
        "power, kW": (0.37, 0.06, 0.28, 0.24),
        "settings": (0.70, 0.06, 0.28, 0.24),
    }
    ticks = clock_ticks(_now_utc(core), core.world.climate.site_timezone)
    temps, power, settings = day_panels(figure, places, ticks, bool(day))
    if not day:
        return
    hours = hours_back(day, core.world.config.dt_s)
    for name, colour, label in (("temp_chip_max_c", CHIP, "hottest chip"), ("temp_amb_c", OUTDOORS, "outdoors")):
        temps.stairs(series(day, name), hours, color=colour, linewidth=1.8, baseline=None, label=label)
    temps.axhline(core.world.config.task.temp_chip_max_c, color=ALARM, linewidth=1.0, linestyle=(0, (4, 3)))
    for name, colour, label in (
        ("power_cooling_w", COOLING, "cooling"),
        ("power_miner_fans_w", POWER, "miners' fans"),
    ):
        power.stairs(series(day, name) / 1e3, hours, color=colour, linewidth=1.8, baseline=None, label=label)
    power.set_ylim(bottom=0.0)
    names = core.world.action_names
    shown = {setting: [name for name in names if setting_of(name) == setting] for setting in SHOWN}
    shown["load"] = [name for name in names if name.startswith("load_")]
    for setting, group in shown.items():
        if group:
            mean = np.mean([series(day, name) for name in group], axis=0)
            _stairs(settings, mean, hours, SHOWN.get(setting, CHIP), setting.partition("_")[0])
    settings.set_ylim(-0.03, 1.03)
    for axes in (temps, power, settings):
        legend(axes)


def _stairs(axes: Axes, values: Numbers, hours: Numbers, colour: str, label: str) -> None:
    axes.stairs(values, hours, color=colour, linewidth=1.8, baseline=None, label=label)
