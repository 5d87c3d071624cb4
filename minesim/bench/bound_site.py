"""A site in one run as the bound sees it: operating points, cooling and switching costs of every row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.bench.bound_points import (
    HEAT_UP_S,
    OVERSHOOT_K,
    OperatingPoints,
    PointMenu,
    Weather,
    cold_restart_temps_c,
    operating_points,
)
from minesim.envs.core import World
from minesim.physics import psychrometrics, wear
from minesim.site import LOG_DUTY_OFF, SiteParams, weather_terms
from minesim.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OFF_ROWS: Final = 9
"""Rows off that restart costs tell apart; a stopped miner is as cold as its air after two hours."""
WARMTH_MARGIN_K: Final = 2.0
"""Recirculated hot air and standby heat may keep a standing miner this much warmer than outdoors."""
BRISK: Final = 1.5
"""Flow may be this many times the settled one for a while, where it pays to burn more."""


@dataclass(frozen=True)
class Cooling:
    """Room cooling of each row, as ``fan_kw * X**3 + pump_kw * x``, (T,).

    ``x`` is the miners' flow over their full flow; ``X = max(x, floor)`` the room fans' speed.
    """

    fan_kw: Floats
    pump_kw: Floats
    floor: float

    def power_kw(self, x: Floats) -> Floats:
        """Cooling power at flow ``x`` (..., T), kW."""
        return np.asarray(self.fan_kw * np.maximum(x, self.floor) ** 3 + self.pump_kw * x)

    def line(self, at: Floats, highest: Floats, costs: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Slope and intercept (kW) of a line that never lies above the power where power costs, below where it pays.

        Args:
            at: where the tangent touches, (..., T).
            highest: highest possible flow, (T,), to which the chord reaches.
            costs: whether power costs, (..., T).
        """
        slope = np.where(costs, 3.0 * self.fan_kw * at**2, self.fan_kw * np.maximum(highest, self.floor) ** 2)
        intercept = np.where(costs, -2.0 * self.fan_kw * at**3, self.fan_kw * self.floor**3)
        return slope + self.pump_kw, intercept


@dataclass(frozen=True)
class RunSite:
    """One run's site.

    Attributes:
        points: settled points of the run's H hours.
        hour: hour of each row, (T,).
        flow_weight: share of each cohort in the site's full flow, (H, M).
        cooling: of each row.
        x_off: flow share of a standing miner.
        x_highest: highest flow share of the site, (T,).
        peak_kw: highest power of the site in a single control step, (T,).
        stop_usd, start_usd: see :class:`minesim.bench.bound_schedule.SwitchCosts`, (T, M) and (T, A, M).
        gain_kwh: energy that a cold start saves, whole cohort, (T, M).
        wear_scale: of the world; the bound's scales multiply it.
        paid_count: miners that are paid for, (M,).
        count: miners, (M,).
        off_kw: one standing miner.
    """

    points: OperatingPoints
    hour: Ints
    flow_weight: Floats
    cooling: Cooling
    x_off: float
    x_highest: Floats
    peak_kw: Floats
    stop_usd: Floats
    start_usd: Floats
    gain_kwh: Floats
    wear_scale: float
    paid_count: Floats
    count: Floats
    off_kw: float


def run_site(world: World, menu: PointMenu, start_row: int, rows: int, silicon_leak: Floats) -> RunSite:
    """Settle a run's points and price its switches.

    Args:
        world: compiled traces and site.
        menu: from :func:`minesim.bench.bound_points.point_menu`.
        start_row: first row of the run.
        rows: T.
        silicon_leak: of the run's draw, (K, M).
    """
    params, table = world.params, world.table
    span = slice(start_row, start_row + rows)
    raw = np.stack([table.column(n)[span] for n in ("temp_amb_c", "rel_humidity_pct", "pressure_pa")], axis=-1)
    hourly, hour = np.unique(raw, axis=0, return_inverse=True)
    hour = hour.reshape(-1).astype(np.int64)
    weather = weather_of(params, hourly)
    points = _trimmed(operating_points(params, menu, weather, silicon_leak))

    miners, curves, spec = params.miners, params.curves, params.room
    density = weather.density_ratio[:, None] * (1.0 - miners.liquid) + miners.liquid
    flow = curves.count * miners.flow_max_w_per_k * density
    full = flow.sum(axis=-1)
    vent_max = spec.vent_ratio * full * 1e-3
    cooling = Cooling(
        fan_kw=(spec.fan_w_per_w_per_k * vent_max)[hour],
        pump_kw=(weather.wetted * spec.pad_pump_w_per_w_per_k * vent_max)[hour],
        floor=spec.vent_min_share / spec.vent_ratio,
    )
    weight = flow / full[:, None]
    highest = np.minimum((weight * np.minimum(BRISK * points.flow_share.max(axis=-1), 1.0)).sum(axis=-1), 1.0)[hour]
    highest = np.maximum(highest, params.firmware.fan_duty_boot)
    peak_kw = (curves.count * points.power_peak_kw.max(axis=-1)).sum(axis=-1)[hour] + cooling.power_kw(highest)
    stop_usd, start_usd = _switch_costs(world, weather, hour, points)
    start_kwh = (params.boot_w + miners.ctrl_w - params.off_w) * 1e-3 * params.firmware.start_delay_s
    gain_kwh = curves.count * np.maximum(points.leak_kw * HEAT_UP_S - start_kwh, 0.0) / SECONDS_PER_HOUR
    return RunSite(
        points=points,
        hour=hour,
        flow_weight=weight,
        cooling=cooling,
        x_off=float(np.exp(LOG_DUTY_OFF)),
        x_highest=highest,
        peak_kw=peak_kw,
        stop_usd=stop_usd,
        start_usd=start_usd,
        gain_kwh=gain_kwh[hour],
        wear_scale=params.wear.scale,
        paid_count=curves.paid_count,
        count=curves.count,
        off_kw=params.off_w * 1e-3,
    )


def weather_of(params: SiteParams, hourly: Floats) -> Weather:
    """Weather of the hours, from columns temperature, humidity and pressure (H, 3)."""
    amb_c, humidity, pressure = hourly.T
    wetbulb_c, density = weather_terms(amb_c, humidity, pressure, xp=NUMPY)
    spec = params.room
    wetted = NUMPY.above(amb_c, spec.pad_on_c) * float(spec.pad_effectiveness > 0.0)
    supply_c = psychrometrics.temp_pad_outlet_c(amb_c, wetbulb_c, spec.pad_effectiveness, wetted)
    return Weather(amb_c, np.asarray(supply_c), density, wetted)


VALUES: Final = np.geomspace(0.004, 0.4, 60)
"""kW that a TH/s may be worth, from far below to far above the best efficiency."""


def _trimmed(points: OperatingPoints) -> OperatingPoints:
    """The same points without those that are best at no value of hashrate in a spread of the run's hours."""
    order = np.argsort(points.power_low_kw[:, 0, 0])
    some = np.unique(order[np.linspace(0, len(order) - 1, 6).astype(int)])
    used = np.zeros(points.hashrate_ths.shape, bool)
    m = np.arange(len(used))
    for value in VALUES:
        gain = value * points.hashrate_ths - points.power_low_kw[some]
        near = gain >= gain.max(axis=-1, keepdims=True) - 5e-4 * points.power_low_kw[some]
        used |= near.any(axis=0)
    width = int(used.sum(axis=-1).max())
    index = np.argsort(~used, axis=-1, kind="stable")[:, :width]
    cut = {
        name: getattr(points, name)[:, m[:, None], index]
        for name in ("power_low_kw", "power_high_kw", "power_peak_kw", "flow_share", "wear_usd_per_h")
    }
    return replace(points, hashrate_ths=points.hashrate_ths[m[:, None], index], **cut)


def _switch_costs(world: World, weather: Weather, hour: Ints, points: OperatingPoints) -> tuple[Floats, Floats]:
    """Stops (T, M) and starts (T, A, M), USD at wear scale 1 of whole cohorts; never above what the twin charges."""
    params = world.params
    count, spec, offset_k = params.curves.count, params.wear, params.firmware.chip_offset_k
    amb, supply = weather.temp_amb_c[hour], weather.temp_supply_c[hour]
    back = max(round(SECONDS_PER_HOUR / world.table.dt_s), 1)
    # A miner may be cooled to its air before a stop; the air of the last hour, the outdoors of either side.
    depth_k = offset_k + _extreme(supply, back, np.minimum) - _extreme(amb, 1, np.maximum)
    damage = wear.cycling_damage(np.maximum(depth_k, 0.0), xp=NUMPY)[:, None]
    stop_usd = count * params.miners.stop_usd * damage
    start_usd = np.zeros((len(hour), OFF_ROWS, len(count)))
    if spec.sample_failures:
        # Who knows the draws starts in a step whose draw fails nobody.
        return stop_usd, start_usd
    warmest = _extreme(amb, OFF_ROWS, np.maximum)[:, None] + WARMTH_MARGIN_K
    off_s = np.asarray(np.arange(OFF_ROWS) * world.table.dt_s, np.float64)
    board_c = np.tile(points.board_c.max(axis=0) + OVERSHOOT_K, (len(hour), 1))
    temps = cold_restart_temps_c(params, warmest, board_c, off_s, float(weather.density_ratio.min()))
    chance = wear.restart_failure_probability(
        temps, spec.restart_failure_base, spec.restart_cold_scale_k, 40.0, xp=NUMPY
    )
    start_usd = np.moveaxis(chance, 0, 1) * (count * params.miners.failed_restart_usd)
    return stop_usd, start_usd


def _extreme(values: Floats, back: int, pick: Any) -> Floats:
    """Extreme of each row and the ``back`` rows before it, (T,)."""
    result = values
    for step in range(1, back + 1):
        result = pick(result, np.concatenate([np.repeat(values[:1], step), values[:-step]])[: len(values)])
    return np.asarray(result)
