"""Settings of a room and its steady air, solved in batches: what a surrogate learns from and is judged by.

At a given air flow the balance of :mod:`minesim.physics.room_grid` is linear in the heat of the groups and in the
supply's offset from outdoors, and only differences to outdoors matter. So everything here is a **rise over outdoors**.
Batches come last, as in the room: flows (U, B), heat (M, B), the rest (B,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from minesim.arrays import Array, Namespace
from minesim.physics.airflow import air_flows
from minesim.physics.psychrometrics import heat_capacity_air_j_per_m3_k
from minesim.physics.room_grid import (
    RoomEquations,
    RoomModel,
    advance,
    heat_taken_w,
    right_hand_side,
    room_equations,
    set_air,
)
from minesim.physics.room_plan import RoomPlan
from minesim.units import PRESSURE_SEA_LEVEL_PA

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class RoomSettings:
    """Settings of a room, one a column.

    Attributes:
        flows_m3_per_s: of groups, fans and dampers, (U, B).
        heat_w: of each group, (M, B).
        supply_rise_k: supply air over outdoor air, (B,); negative behind a pad or coil.
        rho_cp_j_per_m3_k: heat capacity of the air, (B,).
    """

    flows_m3_per_s: Array
    heat_w: Array
    supply_rise_k: Array
    rho_cp_j_per_m3_k: Array

    @property
    def count(self) -> int:
        """How many settings."""
        return int(self.flows_m3_per_s.shape[-1])

    def to(self, convert: Any) -> RoomSettings:
        """Every array passed through ``convert``."""
        return replace(self, **{field.name: convert(getattr(self, field.name)) for field in fields(self)})

    def take(self, index: Any) -> RoomSettings:
        """Some of the settings."""
        return self.to(lambda part: part[..., index])


@dataclass(frozen=True)
class SettingsRange:
    """From where settings are drawn; all assumed, the first three as in the room's own benchmark.

    Attributes:
        fans_over_miners: flow of all room fans over that of all miners.
        miner_level, group_share: flow of a group: rated x level of the room x its own share.
        fan_share: of each room fan, relative to the others.
        damper_open: share of the dampers' full flow in the half of the settings where they are open.
        heat_share: heat of a group: rated x level of the room x its own share.
        stopped_share: share of the groups that stand still, without flow and heat.
        temp_amb_c: outdoor air, which sets the density at sea level.
        supply_rise_k: supply over outdoor air in the half of the settings where pad or coil run.
    """

    fans_over_miners: tuple[float, float] = (0.53, 1.31)
    miner_level: tuple[float, float] = (0.6, 1.0)
    group_share: tuple[float, float] = (0.8, 1.0)
    fan_share: tuple[float, float] = (0.6, 1.0)
    damper_open: tuple[float, float] = (0.0, 0.5)
    heat_share: tuple[float, float] = (0.6, 1.0)
    stopped_share: float = 0.03
    temp_amb_c: tuple[float, float] = (-10.0, 40.0)
    supply_rise_k: tuple[float, float] = (-12.0, 0.0)


def draw_settings(plan: RoomPlan, span: SettingsRange, count: int, rng: np.random.Generator) -> RoomSettings:
    """Draw independent settings of a room, uneven over groups, fans and dampers.

    Args:
        plan: the room.
        span: from where.
        count: how many.
        rng: source of randomness.

    Returns:
        Settings in numpy double precision.
    """
    flow = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])[:, None]
    heat = np.array([g.miners * g.power_w for g in plan.groups])[:, None]
    fan = np.array([f.flow_m3_per_s for f in plan.fans])[:, None]
    damper = np.array([d.flow_m3_per_s for d in plan.dampers])[:, None]

    def drawn(limits: tuple[float, float], things: Floats) -> Floats:
        return rng.uniform(*limits, (len(things), count))

    level = rng.uniform(*span.miner_level, count)
    runs = rng.random((len(flow), count)) >= span.stopped_share
    miners = level * flow * drawn(span.group_share, flow) * runs
    fans = fan * drawn(span.fan_share, fan)
    fans = fans / fans.sum(axis=0) * (rng.uniform(*span.fans_over_miners, count) * miners.sum(axis=0))
    dampers = damper * drawn(span.damper_open, damper) * (rng.random(count) < 0.5)
    temp_amb_c = rng.uniform(*span.temp_amb_c, count)
    return RoomSettings(
        flows_m3_per_s=np.concatenate([miners, fans, dampers]),
        heat_w=level * heat * drawn(span.heat_share, heat) * runs,
        supply_rise_k=rng.uniform(*span.supply_rise_k, count) * (rng.random(count) < 0.5),
        rho_cp_j_per_m3_k=heat_capacity_air_j_per_m3_k(temp_amb_c, PRESSURE_SEA_LEVEL_PA),
    )


def solve_rise_k(model: RoomModel, settings: RoomSettings, *, xp: Namespace) -> Array:
    """Steady air by elimination, the structure settled too.

    Args:
        model: the room, in the arrays of the settings.
        settings: one a column.
        xp: namespace of the arrays.

    Returns:
        Rise over outdoors, (nx, ny, B), K.
    """
    rho_cp = settings.rho_cp_j_per_m3_k
    _, equations, factor = set_air(model, settings.flows_m3_per_s, rho_cp, math.inf, xp=xp)
    still = xp.zeros_like(equations.diagonal)
    return advance(model, equations, factor, still, settings.heat_w, settings.supply_rise_k, 0.0).air_c


def residual_w(model: RoomModel, settings: RoomSettings, rise_k: Array, *, xp: Namespace) -> Array:
    """Heat that the balance of each cell misses with a given field, (nx, ny, B), W.

    Args:
        model: the room, in the arrays of the settings.
        settings: one a column.
        rise_k: any field over outdoors, (nx, ny, B).
        xp: namespace of the arrays.
    """
    return _missed(model, settings, rise_k, xp)[0]


def residual_k(model: RoomModel, settings: RoomSettings, rise_k: Array, *, xp: Namespace) -> Array:
    """The same over what a kelvin takes away from the cell, (nx, ny, B), K."""
    missed, equations = _missed(model, settings, rise_k, xp)
    return missed / equations.diagonal


def _missed(model: RoomModel, settings: RoomSettings, rise_k: Array, xp: Namespace) -> tuple[Array, RoomEquations]:
    flows = air_flows(model.basis, settings.flows_m3_per_s, xp=xp)
    equations = room_equations(model, flows, settings.rho_cp_j_per_m3_k, math.inf, xp=xp)
    still = xp.zeros_like(rise_k)
    wanted = right_hand_side(model, equations, still, settings.heat_w, settings.supply_rise_k, 0.0)
    return heat_taken_w(model, equations, rise_k, xp=xp) - wanted, equations
