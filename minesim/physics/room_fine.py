"""The fine reference of a room: the balance of :mod:`minesim.physics.room_grid`, sparse and of limited second order.

First-order upwind smears like an extra diffusivity of half the velocity times the cell. Here the van Leer limiter
corrects the heat that open-air flows carry: the corrected flux replaces what leaves one cell and enters the next, so
heat is conserved, and the limiter falls back to upwind where the field turns, next to rows and walls. The correction is
put on the right-hand side and repeated with the same factor (deferred correction). Needs scipy; one room at a time,
numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.errors import MissingExtraError, explain
from minesim.physics.airflow import AirFlows, air_flows
from minesim.physics.room_grid import (
    RoomEquations,
    RoomModel,
    RoomTemps,
    entering,
    right_hand_side,
    room_equations,
    structure_after,
)

Floats = npt.NDArray[Any]

SETTLED_K: Final = 1e-4
"""The repeated correction stops when no cell moves by more than this."""


@dataclass(frozen=True)
class FineRoom:
    """A fine grid at one setting of the air; the sparse factor is reused until the flows change.

    Attributes:
        model: the room.
        flows: its air.
        equations: its heat balance.
        factor: sparse LU of the upwind matrix.
        carried_x, carried_y: heat capacity rate of open-air flows between neighbours, W/K; zero through rows.
    """

    model: RoomModel
    flows: AirFlows
    equations: RoomEquations
    factor: Any
    carried_x: Floats
    carried_y: Floats


def fine_room(model: RoomModel, inputs_m3_per_s: Floats, rho_cp_j_per_m3_k: float, dt_s: float) -> FineRoom:
    """Set a fine room up for a setting of groups, fans and dampers.

    Args:
        model: from :func:`minesim.physics.room_grid.room_model`.
        inputs_m3_per_s: flows, (U,).
        rho_cp_j_per_m3_k: heat capacity of air.
        dt_s: sub-step, s; ``math.inf`` for the steady state.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    flows = air_flows(model.basis, inputs_m3_per_s, xp=NUMPY)
    equations = room_equations(model, flows, rho_cp_j_per_m3_k, dt_s, xp=NUMPY)
    open_y = flows.y.copy()
    for face, _ in model.network.rows:
        open_y[:, face] = 0.0
    return FineRoom(
        model=model,
        flows=flows,
        equations=equations,
        factor=sparse_factor(model, equations),
        carried_x=rho_cp_j_per_m3_k * flows.x,
        carried_y=rho_cp_j_per_m3_k * open_y,
    )


def sparse_factor(model: RoomModel, equations: RoomEquations) -> Any:
    """Sparse LU of the upwind balance; its ``solve`` takes and gives flat arrays.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.linalg import splu
    except ImportError as error:
        raise MissingExtraError(
            explain("the fine room needs scipy", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    parts = entering(model, equations)
    nx, ny = equations.diagonal.shape
    cells = np.arange(nx * ny).reshape(nx, ny)
    entries = [equations.diagonal, -parts.from_west, -parts.from_east, -parts.from_south, -parts.from_north]
    rows = [cells, cells[1:], cells[:-1], cells[:, 1:], cells[:, :-1]]
    columns = [cells, cells[:-1], cells[1:], cells[:, :-1], cells[:, 1:]]
    flat = [np.concatenate([part.ravel() for part in group]) for group in (entries, rows, columns)]
    matrix = coo_array((flat[0], (flat[1], flat[2])), shape=(nx * ny, nx * ny)).tocsc()
    # No pivoting is needed (M-matrix); minimum degree on the symmetric pattern halves the fill.
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def advance_fine(
    room: FineRoom,
    structure_c: Floats,
    heat_w: Floats,
    temp_supply_c: float,
    temp_amb_c: float,
    corrections: int = 40,
    start_c: Floats | None = None,
) -> RoomTemps:
    """Advance a fine room by one sub-step; arguments as in :func:`minesim.physics.room_grid.advance`.

    Args:
        room: at its present air flows.
        structure_c: structure at the start, degC, (nx, ny).
        heat_w: heat of each group, W, (M,).
        temp_supply_c, temp_amb_c: supply and outdoor air, degC.
        corrections: at most how many times the second-order part is renewed; 0 is plain upwind.
        start_c: air to take the first correction from, e.g. of the last sub-step at the same flows; upwind if None.

    Returns:
        Air and structure at the end.
    """
    right = right_hand_side(room.model, room.equations, structure_c, heat_w, temp_supply_c, temp_amb_c)

    def solve(extra_w: Floats | float) -> Floats:
        solved: Floats = room.factor.solve((right + extra_w).ravel()).reshape(right.shape)
        return solved

    air = solve(0.0) if start_c is None else start_c
    for _ in range(corrections):
        last, air = air, solve(limited_correction_w(air, room.carried_x, room.carried_y))
        if np.abs(air - last).max() < SETTLED_K:
            break
    return RoomTemps(air, structure_after(room.equations, air, structure_c, temp_amb_c))


def limited_correction_w(air_c: Floats, carried_x: Floats, carried_y: Floats) -> Floats:
    """Heat that each cell gains when upwind values at faces are replaced by limited linear ones, W; its sum is zero.

    Args:
        air_c: cells, degC, (nx, ny).
        carried_x, carried_y: signed heat capacity rates across faces, W/K, (nx - 1, ny) and (nx, ny - 1).

    References:
        B. van Leer, J. Comput. Phys. 14 (1974) 361, doi:10.1016/0021-9991(74)90019-9.
    """
    gained = np.zeros_like(air_c)
    flux_x = _limited_flux(air_c, carried_x)
    gained[:-1] -= flux_x
    gained[1:] += flux_x
    flux_y = _limited_flux(air_c.T, carried_y.T).T
    gained[:, :-1] -= flux_y
    gained[:, 1:] += flux_y
    return gained


def _limited_flux(air_c: Floats, carried: Floats) -> Floats:
    """Extra heat across the faces of the first axis, positive towards larger index."""
    across = air_c[1:] - air_c[:-1]
    still = np.zeros_like(across[:1])
    # Upstream difference for flow to larger and to smaller index; none at the walls, nor beyond a face without flow.
    moving = carried != 0.0
    before = np.concatenate([still, (across * moving)[:-1]])
    after = np.concatenate([(across * moving)[1:], still])
    return carried * np.where(carried > 0.0, 1.0, -1.0) * _half_limited(np.where(carried > 0.0, before, after), across)


def _half_limited(upstream: Floats, across: Floats) -> Floats:
    """Half of van Leer's slope: harmonic mean of two differences of the same sign, else 0."""
    product = upstream * across
    total = upstream + across
    return np.where(product > 0.0, product / np.where(total == 0.0, 1.0, total), 0.0)
