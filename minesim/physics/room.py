"""One well-mixed hot zone with recirculation to the intakes, and walls and metal as the thermal inertia.

Air stays in a container for seconds, so it is quasi-steady: one linear equation per site and sub-step. The walls
remember (about 45 minutes).
"""

from __future__ import annotations

from typing import NamedTuple

from minesim.arrays import Array, Namespace


def recirculated_share(flow_room: Array, flow_miner: Array, share_min: float, *, xp: Namespace) -> Array:
    """Share of the miners' air that comes back from hot to cold.

    Close to ``1 - room flow / miner flow`` in a tight shell, as finite-volume solutions of a container show; a small
    leak remains when the room fans move enough.

    Args:
        flow_room: air that the room fans (and openings) exchange, kg/s or W/K.
        flow_miner: air that the miners move, same unit.
        share_min: leak share, assumed.
        xp: namespace of the arrays.

    Returns:
        Share, ``share_min`` to 1.
    """
    return xp.clip(1.0 - flow_room / xp.maximum(flow_miner, 1e-9), share_min, 1.0)


class StructureShares(NamedTuple):
    """How a structure's new temperature is made up: of outdoors, of its old temperature and of the hot air (sum 1)."""

    per_amb: Array | float
    per_wall: Array | float
    per_hot: Array | float


def structure_shares(
    wall_w_per_k: Array | float, envelope_w_per_k: Array | float, wall_capacity_rate: Array | float
) -> StructureShares:
    """Solve the structure's backward Euler step; the shares do not change when all three arguments are scaled alike.

    Args:
        wall_w_per_k: air-to-structure conductance.
        envelope_w_per_k: structure-to-outdoor conductance.
        wall_capacity_rate: structure heat capacity over the sub-step.
    """
    inverse = 1.0 / (wall_capacity_rate + wall_w_per_k + envelope_w_per_k)
    return StructureShares(envelope_w_per_k * inverse, wall_capacity_rate * inverse, wall_w_per_k * inverse)


class RoomTerms(NamedTuple):
    """What stays fixed over a control step, (B,) each; names as in :func:`room_terms`, the rest are products."""

    vent_w_per_k: Array
    temp_supply_c: Array
    recirculation: Array
    fresh_c: Array
    hot_constant_w: Array
    hot_per_wall: Array
    hot_diagonal: Array
    wall_constant_c: Array
    wall_per_wall: Array | float
    wall_per_hot: Array | float


def room_terms(
    vent_w_per_k: Array,
    recirculation: Array,
    temp_supply_c: Array,
    temp_amb_c: Array,
    wall_w_per_k: Array,
    envelope_w_per_k: Array,
    wall_capacity_rate: Array,
) -> RoomTerms:
    """Prepare the air equation for a control step; all (B,), conductances in W/K.

    Args:
        vent_w_per_k: heat capacity rate of the exchanged air.
        recirculation: share of hot air in the miners' intake.
        temp_supply_c: incoming air (after the pad), degC.
        temp_amb_c: outdoor air, degC.
        wall_w_per_k: air-to-structure conductance.
        envelope_w_per_k: structure-to-outdoor conductance.
        wall_capacity_rate: structure heat capacity over the sub-step.

    Returns:
        Terms for :func:`solve_air`.
    """
    shares = structure_shares(wall_w_per_k, envelope_w_per_k, wall_capacity_rate)
    return room_terms_of(vent_w_per_k, recirculation, temp_supply_c, structure_terms(wall_w_per_k, temp_amb_c, shares))


class StructureTerms(NamedTuple):
    """What the structure adds to the air equation at one weather, (B,); see :func:`structure_terms`."""

    hot_constant_w: Array
    hot_per_wall: Array
    hot_diagonal: Array
    wall_constant_c: Array
    shares: StructureShares


def structure_terms(wall_w_per_k: Array, temp_amb_c: Array, shares: StructureShares) -> StructureTerms:
    """Prepare the structure's part of the air equation: its conductance times what the hot air sees of it."""
    wall_constant_c = shares.per_amb * temp_amb_c
    return StructureTerms(
        hot_constant_w=wall_w_per_k * wall_constant_c,
        hot_per_wall=wall_w_per_k * shares.per_wall,
        hot_diagonal=wall_w_per_k - wall_w_per_k * shares.per_hot,
        wall_constant_c=wall_constant_c,
        shares=shares,
    )


def room_terms_of(
    vent_w_per_k: Array, recirculation: Array, temp_supply_c: Array, structure: StructureTerms
) -> RoomTerms:
    """:func:`room_terms` for a caller that has the structure's part already."""
    return RoomTerms(
        vent_w_per_k=vent_w_per_k,
        temp_supply_c=temp_supply_c,
        recirculation=recirculation,
        fresh_c=temp_supply_c - recirculation * temp_supply_c,
        hot_constant_w=vent_w_per_k * temp_supply_c + structure.hot_constant_w,
        hot_per_wall=structure.hot_per_wall,
        hot_diagonal=vent_w_per_k + structure.hot_diagonal,
        wall_constant_c=structure.wall_constant_c,
        wall_per_wall=structure.shares.per_wall,
        wall_per_hot=structure.shares.per_hot,
    )


def solve_air(
    terms: RoomTerms, heat_w: Array, heat_slope_w_per_k: Array, temp_wall_c: Array
) -> tuple[Array, Array, Array]:
    """Solve hot air, intake air and structure for one sub-step (backward Euler, exact balance).

    The miners give ``heat_w - heat_slope_w_per_k * intake`` to the air. The hot zone's balance is
    ``vent (hot - supply) + wall (hot - structure) = heat``, the structure's
    ``capacity (new - old) = wall (hot - new) - envelope (new - outdoors)``.

    Args:
        terms: from :func:`room_terms`.
        heat_w: miners' heat at an intake of 0 C, plus heat that bypasses the heatsinks, W, (B,).
        heat_slope_w_per_k: how much less heat per kelvin of intake, W/K, (B,).
        temp_wall_c: structure at the start of the sub-step, degC, (B,).

    Returns:
        Hot air, intake air and structure temperature at the end, degC, (B,).
    """
    right = terms.hot_constant_w + terms.hot_per_wall * temp_wall_c + heat_w - heat_slope_w_per_k * terms.fresh_c
    temp_hot_c = right / (terms.hot_diagonal + heat_slope_w_per_k * terms.recirculation)
    temp_wall_new_c = terms.wall_constant_c + terms.wall_per_wall * temp_wall_c + terms.wall_per_hot * temp_hot_c
    return temp_hot_c, terms.fresh_c + terms.recirculation * temp_hot_c, temp_wall_new_c
