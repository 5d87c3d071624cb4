"""The cooling task: what its action means, its reward in USD and its cost.  No physics.

Shapes: A numbers of an action, M groups, B halls **last**, as in :mod:`minesim.hall`; one hall has no axis for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from minesim.arrays import Array, Namespace
from minesim.hall import Hall, HallCommand, HallOutcome
from minesim.physics.cooling import OFF, PlantCommand
from minesim.site_spec import MARGIN_USD_PER_THS_DAY
from minesim.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

DX_SET_C = (12.0, 32.0)
"""Set points of the coil from action -1 to just below 1; at 1 it is off."""
LOAD_MIN = 0.5
"""Lowest share of full frequency; stopping miners belongs to the hashrate task."""
W_PER_MW = 1e6
KG_PER_M3 = 1000.0
LIMITS = ("cost_chip", "cost_gradient", "cost_dewpoint")
"""Limits of :func:`cost_terms`."""


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
    action: Array, names: tuple[str, ...], hall: Hall, zone_of: tuple[str, ...], *, xp: Namespace
) -> HallCommand:
    """Command of an action: -1 is standstill, dry, closed, coldest or least load; 1 is full, or the coil off.

    Args:
        action: numbers in -1 to 1 (held to it), (A,) or (A, B).
        names: from :func:`action_names`.
        hall: as there.
        zone_of: zone of each group.
        xp: namespace of the arrays.
    """
    share = dict(zip(names, 0.5 + 0.5 * xp.clip(action, -1.0, 1.0), strict=True))
    none = 0.0 * action[0]
    low_c, high_c = DX_SET_C
    fans = [share.get("exhaust_speed" if out else "intake_speed", none) for out in hall.plant.fan_is_exhaust]
    dampers = [share.get("damper", none) for _ in hall.plant.damper_flow_m3_per_s]
    coil = share.get("dx_set", none + 1.0)
    plant = PlantCommand(
        fan_speed=xp.stack(fans, 0) if fans else action[:0],
        damper=xp.stack(dampers, 0) if dampers else action[:0],
        pad_duty=share.get("pad_duty", none),
        temp_dx_set_c=xp.where(coil < 1.0, low_c + (high_c - low_c) * coil, none + OFF),
    )
    loads = [LOAD_MIN + (1.0 - LOAD_MIN) * share[f"load_{zone}"] for zone in zone_of]
    return HallCommand(plant, xp.stack(loads, 0))


def reward_terms(
    task: CoolingTask, outcome: HallOutcome, hall: Hall, price_usd_per_mwh: Array, dt_s: float, *, xp: Namespace
) -> dict[str, Array]:
    """USD of a step by name, () or (B,), none positive at a price of 0 or more.

    Args:
        task: prices.
        outcome: what happened.
        hall: the hall.
        price_usd_per_mwh: energy in the interval, as settled, () or (B,).
        dt_s: control step, s.
        xp: namespace of the arrays.
    """
    count = hall.miners.count
    usd_per_w = price_usd_per_mwh * (dt_s / SECONDS_PER_HOUR / W_PER_MW)
    lost_ths = xp.maximum(xp.sum(count * (hall.miners.hashrate_ths - outcome.hashrate_ths), axis=0), 0.0)
    return {
        "cooling_usd": -outcome.power_cooling_w * usd_per_w,
        "miner_fans_usd": -xp.sum(count * outcome.power_fan_w, axis=0) * usd_per_w,
        "leakage_usd": -xp.sum(count * outcome.power_leak_w, axis=0) * usd_per_w,
        "water_usd": -outcome.plant.water_kg_per_s * (dt_s / KG_PER_M3 * task.water_usd_per_m3),
        "lost_usd": -lost_ths * (task.margin_usd_per_ths_day * dt_s / SECONDS_PER_DAY),
        "wear_usd": -outcome.wear_usd,
    }


def cost_terms(task: CoolingTask, outcome: HallOutcome, structure_c: Array, *, xp: Namespace) -> dict[str, Array]:
    """Limits broken in a step, 0 or 1 each, () or (B,); arguments as of :func:`excess_terms`."""
    return {name: xp.above(k, 0.0) for name, k in excess_terms(task, outcome, structure_c, xp=xp).items()}


def excess_terms(task: CoolingTask, outcome: HallOutcome, structure_c: Array, *, xp: Namespace) -> dict[str, Array]:
    """Kelvins past each limit, below zero within it, () or (B,): a chip too hot, intakes too uneven, metal below the
    supply's dew point.

    Args:
        task: limits.
        outcome: what happened.
        structure_c: walls, racks and metal at the end, degC, (nx, ny) or (nx, ny, B).
        xp: namespace of the arrays.
    """
    inlet = outcome.temp_inlet_c
    coldest_c = xp.min(xp.min(structure_c, axis=0), axis=0)
    excess_k = (
        xp.max(outcome.temp_hot_max_c, axis=0) - task.temp_chip_max_c,
        xp.max(inlet, axis=0) - xp.min(inlet, axis=0) - task.gradient_max_k,
        outcome.plant.temp_dewpoint_c - coldest_c,
    )
    return dict(zip(LIMITS, excess_k, strict=True))
