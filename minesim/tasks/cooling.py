"""The cooling task: what its action means, its reward in USD and its cost.  No physics.

Shapes: A numbers of an action, M groups, B halls **last**, as in :mod:`minesim.hall`; one hall has no axis for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain
from minesim.hall import Hall, HallCommand, HallOutcome
from minesim.physics.cooling import OFF, PlantCommand, PlantParams
from minesim.physics.room_plan import RoomFan, RoomPlan
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
IN_ZONES = ("exhaust_speed", "intake_speed", "damper")
"""Settings that each zone of a hall has for itself."""


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


@dataclass(frozen=True)
class ActionParts:
    """Which numbers of an action set which parts of a hall.

    Attributes:
        rows: row of miners that each group stands in; a row carries its own share of load.
        fans, dampers: zone of each, from 1; all 0 where the hall is one zone.
    """

    rows: tuple[str, ...]
    fans: tuple[int, ...]
    dampers: tuple[int, ...]


def action_parts(plan: RoomPlan, zones: int = 1) -> ActionParts:
    """Cut a layout into zones of equal length, west to east; a zone has the fans and dampers whose middle lies in it.

    Args:
        plan: the layout.
        zones: how many.

    Raises:
        ParamsError: no zone, or one without a fan or damper.
    """
    if zones < 1:
        raise ParamsError(explain(f"zones is {zones}", allowed="1 or more"))
    fans = tuple(zone_at(plan, zones, fan_middle_m(plan, fan)) for fan in plan.fans)
    dampers = tuple(zone_at(plan, zones, 0.5 * (part.from_m + part.to_m)) for part in plan.dampers)
    empty = sorted(set(range(1, zones + 1)) - {*fans, *dampers})
    if empty and zones > 1:
        what = f"zone {empty[0]} of {zones} has neither fan nor damper"
        raise ParamsError(explain(what, origin=f"layout {plan.name!r}", fix="Take fewer zones."))
    rows = tuple(group.row for group in plan.groups)
    if zones == 1:
        return ActionParts(rows, (0,) * len(fans), (0,) * len(dampers))
    return ActionParts(rows, fans, dampers)


def fan_middle_m(plan: RoomPlan, part: RoomFan) -> float:
    """Where a fan sits along the room, m from its west end."""
    ends = {"west": 0.0, "east": plan.length_m}
    return ends.get(part.wall, 0.5 * (part.from_m + part.to_m))


def zone_at(plan: RoomPlan, zones: int, x_m: float) -> int:
    """The zone, from 1, of a place along the room."""
    return min(zones, 1 + int(zones * x_m / plan.length_m))


def zoned(setting: str, zone: int) -> str:
    """Name of a setting in a zone; the setting itself where the hall is one zone."""
    return f"{setting}_z{zone}" if zone else setting


def setting_of(name: str) -> str:
    """The setting that a number of an action is, without its zone.

    >>> setting_of("exhaust_speed_z2")
    'exhaust_speed'
    """
    return next((setting for setting in IN_ZONES if name.startswith(setting)), name)


def plant_names(plant: PlantParams, parts: ActionParts) -> tuple[str, ...]:
    """Names of the numbers of an action that set the plant: only what the hall has."""
    exhausts, intakes = (
        tuple(dict.fromkeys(zone for zone, out in zip(parts.fans, plant.fan_is_exhaust, strict=True) if out == kind))
        for kind in (1.0, 0.0)
    )
    return (
        *(zoned("exhaust_speed", zone) for zone in exhausts),
        *(zoned("intake_speed", zone) for zone in intakes),
        *(("pad_duty",) if plant.pad is not None else ()),
        *(("dx_set",) if plant.dx is not None else ()),
        *(zoned("damper", zone) for zone in dict.fromkeys(parts.dampers)),
    )


def action_names(plant: PlantParams, parts: ActionParts) -> tuple[str, ...]:
    """Names of an action's numbers: those of the plant, and the load of each row of miners."""
    return plant_names(plant, parts) + tuple(f"load_{row}" for row in dict.fromkeys(parts.rows))


def plant_command(
    share: Mapping[str, Array], plant: PlantParams, parts: ActionParts, none: Array, *, xp: Namespace
) -> PlantCommand:
    """What the plant is set to: a share of 0 is standstill, dry, closed or coldest; 1 is full, or the coil off.

    Args:
        share: by name of :func:`plant_names`, 0 to 1, () or (B,).
        plant: the plant.
        parts: what each name sets.
        none: zeros, () or (B,).
        xp: namespace of the arrays.
    """
    low_c, high_c = DX_SET_C
    kinds = ["exhaust_speed" if out else "intake_speed" for out in plant.fan_is_exhaust]
    fans = [share[zoned(kind, zone)] for kind, zone in zip(kinds, parts.fans, strict=True)]
    dampers = [share[zoned("damper", zone)] for zone in parts.dampers]
    coil = share.get("dx_set", none + 1.0)
    return PlantCommand(
        fan_speed=xp.stack(fans, 0) if fans else xp.stack([none], 0)[:0],
        damper=xp.stack(dampers, 0) if dampers else xp.stack([none], 0)[:0],
        pad_duty=share.get("pad_duty", none),
        temp_dx_set_c=xp.where(coil < 1.0, low_c + (high_c - low_c) * coil, none + OFF),
    )


def command_of(action: Array, names: tuple[str, ...], hall: Hall, parts: ActionParts, *, xp: Namespace) -> HallCommand:
    """Command of an action: -1 is standstill, dry, closed, coldest or least load; 1 is full, or the coil off.

    Args:
        action: numbers in -1 to 1 (held to it), (A,) or (A, B).
        names: from :func:`action_names`.
        hall: as there.
        parts: what each name sets.
        xp: namespace of the arrays.
    """
    share = dict(zip(names, 0.5 + 0.5 * xp.clip(action, -1.0, 1.0), strict=True))
    plant = plant_command(share, hall.plant, parts, 0.0 * action[0], xp=xp)
    loads = [LOAD_MIN + (1.0 - LOAD_MIN) * share[f"load_{row}"] for row in parts.rows]
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
        "water_usd": -water_usd(task, outcome, dt_s),
        "lost_usd": -lost_ths * (task.margin_usd_per_ths_day * dt_s / SECONDS_PER_DAY),
        "wear_usd": -outcome.wear_usd,
    }


def water_usd(task: CoolingTask, outcome: HallOutcome, dt_s: float) -> Array:
    """What the water of a step costs, USD, () or (B,)."""
    return outcome.plant.water_kg_per_s * (dt_s / KG_PER_M3 * task.water_usd_per_m3)


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
