"""What a miner can do for how little power: the settled operating points that the bound lets a site choose from.

The firmware's fan loop integrates the deviation of the board from its set point, so over time a miner cannot be cooler
than settled at that set point (or at its slowest fans). A point is therefore a preset and a throttle with temperatures
settled, for the weather of an hour and the silicon of each board; :data:`TRANSIENT_K` and :data:`HEAT_UP_S` cover what
is not settled. The formulas are those of ``minesim.physics``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.physics import asic, fan, heatsink, wear
from minesim.site import HA_EXPONENT, LOG_DUTY_OFF, SiteParams

Floats = npt.NDArray[np.float64]

TRANSIENT_K: Final = 0.5
"""Chips are taken this much cooler than settled where power costs (and hotter where it pays), for movements around the
settled state; ``tests/bench/test_bound_physics.py`` looks for movements that gain more."""
OVERSHOOT_K: Final = 10.0
"""Chips are taken this much hotter than settled for the highest load of a single control step."""
POWER_SLACK: Final = 5e-4
"""Power is taken this much (relative) lower or higher, for what lies between the points."""
HEAT_UP_S: Final = 300.0
"""After a start chips leak as if settled only from here on."""
REHEAT_K_S: Final = 9000.0
"""Kelvin-seconds by which chips lag behind after a preset change, when they cooled while it lasted."""
STOP_STRETCH: Final = 1.12
"""When the fans stop, the outlet side of a board rises over its heatsink: over the air it stands at most 1.5 times as
high, and stood at least 1.37 times as high before; and the chips' heat follows."""
THROTTLES: Final = (1.0, 0.8, 0.5, 0.2)
CYCLES_S: Final = (450.0, 600.0, 900.0, 1800.0)
"""Besides every control step: how often a preset may be changed only to save power (see :class:`PointMenu`)."""
SOLVE_ROUNDS: Final = 24
CLIMATES_C: Final = (-25.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0)
DENSITIES: Final = (0.85, 1.25)


@dataclass(frozen=True)
class Weather:
    """Weather of H different hours.

    Attributes:
        temp_amb_c, temp_supply_c: outdoor air and air behind the pad, degC, (H,).
        density_ratio: over the reference density, (H,).
        wetted: 1 where the pad runs, (H,).
    """

    temp_amb_c: Floats
    temp_supply_c: Floats
    density_ratio: Floats
    wetted: Floats


@dataclass(frozen=True)
class PointMenu:
    """Presets and throttles that can be worth using, padded with the first one; (M, P) each.

    Attributes:
        preset: index.
        throttle: as a fraction.
        cycle_s: time between changes to a neighbouring preset and back, infinite for none. A miner that changes its
            preset again and again waits rather than hashes, with its fans at boot speed: the cheapest way not to stop.
    """

    preset: npt.NDArray[np.int64]
    throttle: Floats
    cycle_s: Floats


@dataclass(frozen=True)
class OperatingPoints:
    """Settled values of one miner of each cohort; (H, M, P) unless said.

    Attributes:
        hashrate_ths: (M, P).
        power_low_kw, power_high_kw: lowest and highest wall power.
        power_peak_kw: highest power of a single control step.
        flow_share: flow over full flow at this density.
        wear_usd_per_h: expected ageing at wear scale 1.
        leak_kw: settled leakage at the highest preset, (H, M).
        board_c: hottest board of the points, degC, (H, M).
    """

    hashrate_ths: Floats
    power_low_kw: Floats
    power_high_kw: Floats
    power_peak_kw: Floats
    flow_share: Floats
    wear_usd_per_h: Floats
    leak_kw: Floats
    board_c: Floats


def operating_points(params: SiteParams, menu: PointMenu, weather: Weather, silicon_leak: Floats) -> OperatingPoints:
    """Settle every point of the menu in every weather.

    Args:
        params: the site.
        menu: points, (M, P).
        weather: H hours.
        silicon_leak: leakage of the boards relative to their model, (K, M).
    """
    xp, miners, fw, curves = NUMPY, params.miners, params.firmware, params.curves
    cohorts = np.arange(len(curves.models))[:, None]
    preset = menu.preset
    rail = np.maximum(1.0 - fw.preset_change_s / menu.cycle_s, 0.0)
    active = menu.throttle * np.maximum(1.0 - (fw.preset_change_s + 0.5 * fw.ramp_s) / menu.cycle_s, 0.0)
    hashrate_ths = curves.preset_hashrate_ths[cohorts, preset] * active

    present = miners.board_present[:, None, :, None]
    boards = miners.board_present.sum(axis=0)[:, None]
    column = {
        name: getattr(miners, name)[:, None]
        for name in (
            "beta_per_k",
            "temp_ref_c",
            "psu_standby_w",
            "psu_linear",
            "psu_per_w",
            "ctrl_w",
            "fan_max_w",
            "liquid",
            "flow_max_w_per_k",
            "ntu_ref",
            "chip_sink_w_per_k",
            "wear_usd_per_h",
        )
    }
    dyn_w = miners.board_dyn_w[cohorts, preset] * menu.throttle
    leak_w = miners.board_leak_w[cohorts, preset] * silicon_leak[:, None, :, None] * present
    density = weather.density_ratio[:, None, None] * (1.0 - column["liquid"]) + column["liquid"]
    lowest = np.where(column["liquid"] > 0.0, 1.0, fw.fan_duty_min) * density
    supply_c = weather.temp_supply_c[:, None, None]
    target_c = fw.fan_target_c - fw.chip_offset_k
    flow_max = column["flow_max_w_per_k"]

    flow = np.clip(0.5 * density, lowest, density) + 0.0 * dyn_w
    chip_c = target_c + 0.0 * leak_w * flow
    board_c = flow
    for _ in range(SOLVE_ROUNDS):
        growth = asic.leakage_growth(chip_c, column["beta_per_k"], column["temp_ref_c"], xp=xp)
        board_w = (leak_w * growth + dyn_w) * present
        log_flow = np.log(flow)
        ua = heatsink.ua_stream_w_per_k(
            -flow_max / boards * flow, heatsink.ntu_at_flow(-column["ntu_ref"], log_flow, HA_EXPONENT, xp=xp), xp=xp
        )
        sink_c = supply_c + board_w / ua
        chip_c = sink_c + board_w / column["chip_sink_w_per_k"]
        half_rise_k = board_w.sum(axis=0) / (2.0 * flow_max * flow)
        board_c = sink_c.max(axis=0) + half_rise_k
        wanted = flow * (board_c - supply_c) / np.maximum(target_c - supply_c, 1.0)
        flow = np.clip(wanted, lowest, density)
    duty = flow / density
    # Boot speed winds the fan loop up, which then lets the miner be colder than settled for a while.
    wound_k_s = 60.0 / fw.fan_integral_per_k_min * np.log(np.maximum(fw.fan_duty_boot / duty, 1.0)) + REHEAT_K_S
    cooler_k = np.minimum(wound_k_s / menu.cycle_s, np.maximum(board_c - supply_c, 0.0))
    chip_c, board_c = np.maximum(chip_c - cooler_k, supply_c), board_c - cooler_k

    def wall_w(warmer_k: float, duty: Floats) -> Floats:
        growth = asic.leakage_growth(chip_c + warmer_k, column["beta_per_k"], column["temp_ref_c"], xp=xp)
        dc_w = (leak_w * growth * rail + dyn_w * (active / menu.throttle)).sum(axis=0)
        standing_w = column["ctrl_w"] + rail * column["psu_standby_w"] + (1.0 - rail) * params.boot_w
        supply_loss_w = dc_w * (column["psu_linear"] + column["psu_per_w"] * dc_w)
        return np.asarray(standing_w + dc_w + supply_loss_w + fan.fan_power_w(duty, column["fan_max_w"]))

    brisk = np.clip(np.maximum(1.5 * duty, fw.fan_duty_boot), 0.0, 1.0)
    ageing = wear.arrhenius_factor(
        board_c + (fw.chip_offset_k - TRANSIENT_K), params.wear.temp_ref_c, params.wear.activation_ev, xp=xp
    )
    growth = asic.leakage_growth(chip_c, column["beta_per_k"], column["temp_ref_c"], xp=xp)
    leak_kw = ((leak_w * growth).sum(axis=0) * (1.0 + column["psu_linear"]) * 1e-3).max(axis=-1)
    return OperatingPoints(
        hashrate_ths=np.asarray(hashrate_ths, np.float64),
        power_low_kw=wall_w(-TRANSIENT_K, duty) * (1e-3 * (1.0 - POWER_SLACK)),
        power_high_kw=wall_w(TRANSIENT_K, duty) * (1e-3 * (1.0 + POWER_SLACK)),
        power_peak_kw=wall_w(OVERSHOOT_K, brisk) * 1e-3,
        flow_share=duty,
        wear_usd_per_h=column["wear_usd_per_h"] * rail * ageing,
        leak_kw=leak_kw,
        board_c=board_c.max(axis=-1),
    )


def point_menu(params: SiteParams, dt_ctrl_s: float) -> PointMenu:
    """Keep the points that are within twice :data:`POWER_SLACK` of the best mixture of others in some climate.

    With power that pays, the point of highest hashrate has the highest power as well, and it is always kept.
    """
    curves = params.curves
    cohorts, presets = curves.preset_power_w.shape
    throttles = THROTTLES if curves.has_throttle else (1.0,)
    triples = [(p, t, np.inf) for p in range(presets) for t in throttles]
    if presets > 1:
        triples += [(p, 1.0, cycle) for p in range(presets) for cycle in (dt_ctrl_s, *CYCLES_S)]
    table = np.array(triples)
    every = PointMenu(
        np.tile(table[:, 0].astype(np.int64), (cohorts, 1)),
        np.tile(table[:, 1], (cohorts, 1)),
        np.tile(table[:, 2], (cohorts, 1)),
    )
    supply = np.repeat(CLIMATES_C, len(DENSITIES))
    density = np.tile(DENSITIES, len(CLIMATES_C))
    weather = Weather(supply, supply, density, np.zeros(len(supply)))
    settled = operating_points(params, every, weather, np.ones_like(params.miners.board_present))
    kept: list[list[int]] = []
    for m in range(cohorts):
        useful = np.zeros(len(triples), bool)
        for h in range(len(supply)):
            useful |= _near_hull(settled.power_low_kw[h, m], settled.hashrate_ths[m])
        useful &= every.preset[m] <= curves.preset_last[m]
        kept.append(list(np.flatnonzero(useful)))
    width = max(map(len, kept))
    index = np.array([row + row[:1] * (width - len(row)) for row in kept])
    rows = np.arange(cohorts)[:, None]
    return PointMenu(every.preset[rows, index], every.throttle[rows, index], every.cycle_s[rows, index])


def _near_hull(power: Floats, value: Floats) -> npt.NDArray[np.bool_]:
    """Which points lie on (or almost on) the upper concave hull of value over power."""
    hull: list[int] = []
    for i in np.lexsort((-value, power)):
        if hull and value[i] <= value[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (value[b] - value[a]) * (power[i] - power[a]) > (value[i] - value[a]) * (power[b] - power[a]):
                break
            hull.pop()
        hull.append(int(i))
    reached = np.interp(power * (1.0 - 2.0 * POWER_SLACK), power[hull], value[hull])
    return np.asarray(value >= reached - 1e-9)


def cold_restart_temps_c(
    params: SiteParams, weather_warmest_c: Floats, board_c: Floats, off_s: Floats, density_min: float
) -> Floats:
    """Highest board temperature at which a miner can start again after standing still.

    It cools towards the air around it with the natural draught of a standing miner.

    Args:
        params: the site.
        weather_warmest_c: warmest air since the stop, degC, (T, M).
        board_c: hottest board at the stop, degC, (T, M).
        off_s: time since the stop, s, (A,).
        density_min: lowest density ratio.

    Returns:
        (A, T, M), degC.
    """
    miners = params.miners
    flow = np.exp(LOG_DUTY_OFF) * density_min
    boards = miners.board_present.sum(axis=0)
    ua = heatsink.ua_stream_w_per_k(
        -miners.flow_max_w_per_k / boards * flow,
        heatsink.ntu_at_flow(-miners.ntu_ref, np.log(flow), HA_EXPONENT, xp=NUMPY),
        xp=NUMPY,
    )
    rate_per_s = ua / (miners.chip_j_per_k + miners.sink_j_per_k)
    # Backward Euler of the twin decays more slowly than the exponential.
    sub_s = 60.0
    left = np.exp(-np.log1p(rate_per_s * sub_s) / sub_s * off_s[:, None])[:, None, :]
    rise_k = STOP_STRETCH * np.maximum(board_c - weather_warmest_c, 0.0)
    return np.asarray(weather_warmest_c + rise_k * left)
