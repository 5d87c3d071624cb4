"""The cooling task: what it observes, what its action means, its reward in USD and its cost.  No physics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.hall import Hall, HallCommand, HallOutcome
from minesim.physics.cooling import OFF, PlantCommand
from minesim.site_spec import MARGIN_USD_PER_THS_DAY
from minesim.units import SECONDS_PER_DAY

Floats = npt.NDArray[np.float64]
DX_SET_C = (12.0, 32.0)
"""Set points of the coil from action -1 to just below 1; at 1 it is off."""
LOAD_MIN = 0.5
"""Lowest share of full frequency; stopping miners belongs to the hashrate task."""


@dataclass(frozen=True)
class CoolingTask:
    """Prices and limits.

    Attributes:
        water_usd_per_m3: water and sewer (assumed 3).
        margin_usd_per_ths_day: what a TH/s earns over its power; lost hashing is charged at it.
        temp_chip_max_c, gradient_max_k: limits of the cost.
        reward_usd: the reward is in units of this.
    """

    water_usd_per_m3: float = 3.0
    margin_usd_per_ths_day: float = MARGIN_USD_PER_THS_DAY
    temp_chip_max_c: float = 80.0
    gradient_max_k: float = 5.0
    reward_usd: float = 1.0


def action_names(hall: Hall, zones: tuple[str, ...]) -> tuple[str, ...]:
    """Names of an action's numbers: only what the hall has.

    Args:
        hall: the hall.
        zones: rows of miners, each of which carries its own share of load.
    """
    plant = hall.plant
    parts = {
        "exhaust_speed": 1.0 in plant.fan_is_exhaust,
        "intake_speed": 0.0 in plant.fan_is_exhaust,
        "pad_duty": plant.pad is not None,
        "dx_set": plant.dx is not None,
        "damper": bool(plant.damper_flow_m3_per_s),
    }
    return tuple(name for name, there in parts.items() if there) + tuple(f"load_{zone}" for zone in zones)


def command_of(
    action: Floats, names: tuple[str, ...], hall: Hall, zones: tuple[str, ...], zone_of: npt.NDArray[np.int64]
) -> HallCommand:
    """Command of an action: -1 is standstill, dry, closed, coldest or least load; 1 is full, or the coil off.

    Args:
        action: numbers in -1 to 1 (held to it), (A,).
        names: from :func:`action_names`.
        hall, zones: as there.
        zone_of: index of each group's zone, (M,).
    """
    share = dict(zip(names, 0.5 + 0.5 * np.clip(action, -1.0, 1.0), strict=True))
    exhaust = np.asarray(hall.plant.fan_is_exhaust)
    low_c, high_c = DX_SET_C
    dx = share.get("dx_set", 1.0)
    loads = np.array([LOAD_MIN + (1.0 - LOAD_MIN) * share[f"load_{zone}"] for zone in zones])
    plant = PlantCommand(
        fan_speed=exhaust * share.get("exhaust_speed", 0.0) + (1.0 - exhaust) * share.get("intake_speed", 0.0),
        damper=np.full(len(hall.plant.damper_flow_m3_per_s), share.get("damper", 0.0)),
        pad_duty=np.asarray(share.get("pad_duty", 0.0)),
        temp_dx_set_c=np.asarray(low_c + (high_c - low_c) * dx if dx < 1.0 else OFF),
    )
    return HallCommand(plant, loads[zone_of])


def reward_terms(
    task: CoolingTask, outcome: HallOutcome, hall: Hall, price_usd_per_mwh: float, dt_s: float
) -> dict[str, float]:
    """USD of a step by name, none positive at a price of 0 or more.

    Args:
        task: prices.
        outcome: what happened.
        hall: the hall.
        price_usd_per_mwh: energy in the interval, as settled.
        dt_s: control step, s.
    """
    miners, usd_per_w = hall.miners, price_usd_per_mwh * dt_s / 3.6e9
    lost_ths = max(float(miners.count @ (miners.hashrate_ths - outcome.hashrate_ths)), 0.0)
    return {
        "cooling_usd": -float(outcome.power_cooling_w) * usd_per_w,
        "miner_fans_usd": -float(miners.count @ outcome.power_fan_w) * usd_per_w,
        "leakage_usd": -float(miners.count @ outcome.power_leak_w) * usd_per_w,
        "water_usd": -float(outcome.plant.water_kg_per_s) * dt_s / 1000.0 * task.water_usd_per_m3,
        "lost_usd": -lost_ths * task.margin_usd_per_ths_day * dt_s / SECONDS_PER_DAY,
        "wear_usd": -float(outcome.wear_usd),
    }


def cost_terms(task: CoolingTask, outcome: HallOutcome, structure_c: Floats) -> dict[str, float]:
    """Limits broken in a step, 0 or 1 each: a chip too hot, intakes too uneven, metal below the supply's dew point.

    Args:
        task: limits.
        outcome: what happened.
        structure_c: walls, racks and metal at the end, degC.
    """
    inlet = outcome.temp_inlet_c
    return {
        "cost_chip": float(outcome.temp_hot_max_c.max() > task.temp_chip_max_c),
        "cost_gradient": float(inlet.max() - inlet.min() > task.gradient_max_k),
        "cost_dewpoint": float(structure_c.min() < outcome.plant.temp_dewpoint_c),
    }
