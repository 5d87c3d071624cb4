"""Temperatures of a room's air and structure on a grid of cells (finite volumes, implicit in time).

Air stays in a room for seconds, so it is quasi-steady; walls, racks and metal remember (about 45 minutes). Each cell
balances heat along every path on its own (see :mod:`minesim.physics.airflow`):

    sum over paths  rho cp (max(F, 0) T_a - max(-F, 0) T_b) + rho cp D G (T_a - T_b)  +  h (T - S)  =  heat
    C dS/dt = h (T - S) - u (S - T_outdoors)

First-order upwind with eddy mixing; in front of a row the air that comes back is a layer thinner than a cell
(:mod:`minesim.physics.intake_layer`). The structure S by backward Euler, eliminated cell by cell. What leaves one cell
enters the next, so heat in is heat out to rounding, and no cell can be colder than the coldest thing that feeds it.
Miners' heat enters the cell that they blow into; nothing divides by a flow, so fans may stand still.

Order of use: :func:`room_model` once, :func:`room_equations` and :func:`factorise` when flows change,
:func:`advance` for each sub-step. Shapes: fields (nx, ny) or (nx, ny, B), groups (M,) or (M, B), the rest () or (B,).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain
from minesim.physics.airflow import (
    AirBasis,
    AirFlows,
    AirNetwork,
    AirShares,
    Geometry,
    Grid,
    air_basis,
    air_flows,
    conductances,
    cut_room,
)
from minesim.physics.intake_layer import returned_share
from minesim.physics.room_plan import RoomPlan

DENSE_WORK_MAX: Final = 100 * 32**3
"""Rooms times cells cubed up to which a single solution by whole matrices costs less than columns do: for 26 rooms of
32 cells a third in numpy and, with its gradient, a tenth in torch; for 100 rooms the same in numpy and, with its
gradient, a third in torch."""


@dataclass(frozen=True)
class RoomModel:
    """What is constant about a room on a grid, as arrays of one namespace.

    Attributes:
        network: the room in cells (numpy).
        basis: flows per unit of every input.
        treated_share: share of the air from outdoors that comes through pad or coil, (nx, ny).
        mix_x, mix_y: eddy exchange between neighbours, m3/s, (nx - 1, ny) and (nx, ny - 1).
        heat_to: shares of the groups' heat to the air, (cells, M); a liquid-cooled group's sum to its ``air_share``.
        inlet_from: shares of the cells in the groups' intakes, (M, cells).
        through: shares of groups across the faces in y, first upward, then downward, (2 faces, M).
        across: the same by group, downward ones negative, (M, faces).
        blows_north, blows_south: 1 on the faces of rows that blow to larger, and to smaller y, (1, ny - 1).
        mix_cell_m3_per_s: eddy exchange over the width of a cell.
        structure_j_per_k, structure_w_per_k, envelope_w_per_k: of each cell.
        eye, below, above: ones on the diagonal of a column's block and beside it, (ny, ny).
    """

    network: AirNetwork
    basis: AirBasis
    treated_share: Array
    mix_x: Array
    mix_y: Array
    heat_to: Array
    inlet_from: Array
    through: Array
    across: Array
    blows_north: Array
    blows_south: Array
    mix_cell_m3_per_s: Array | float
    structure_j_per_k: float
    structure_w_per_k: float
    envelope_w_per_k: float
    eye: Array
    below: Array
    above: Array

    @property
    def grid(self) -> Grid:
        """The cells."""
        return self.network.grid

    def to(self, convert: Callable[[Array], Array]) -> RoomModel:
        """The same model with every array passed through ``convert`` (to torch, another precision or device)."""
        changed: dict[str, Any] = {
            name: convert(value)
            for name, value in vars(self).items()
            if not isinstance(value, AirNetwork | AirBasis | float)
        }
        return replace(self, **changed, basis=self.basis._replace(matrix=convert(self.basis.matrix)))


def room_model(plan: RoomPlan, nx: int, ny: int) -> RoomModel:
    """Cut a room into cells and prepare everything that stays.

    Args:
        plan: a checked room.
        nx, ny: cells along and across; 1 x 1 is a well-mixed room.

    Returns:
        The model in numpy double precision.

    Raises:
        ParamsError, MissingExtraError: see :func:`minesim.physics.airflow.cut_room` and ``air_basis``.
    """
    network = cut_room(plan, nx, ny)
    return model_of_network(
        network,
        plan.eddy_m2_per_s,
        np.array([group.air_share for group in plan.groups]),
        (plan.structure_j_per_k, plan.structure_w_per_k, plan.envelope_w_per_k),
    )


def model_of_network(
    network: AirNetwork, eddy_m2_per_s: float, air_share: Array, structure: tuple[float, float, float]
) -> RoomModel:
    """Prepare a model of a network that a caller has made or changed (a blocked louvre, wider gaps).

    Args:
        network: the room in cells.
        eddy_m2_per_s: eddy diffusivity, m2/s.
        air_share: share of each group's heat that goes to the air, (M,).
        structure: heat capacity (J/K), conductance to the air and to outdoors (W/K) of the whole room.
    """
    grid, groups = network.grid, len(air_share)
    cells, faces = grid.nx * grid.ny, grid.nx * (grid.ny - 1)
    capacity, inner, outer = (value / cells for value in structure)
    eye = np.eye(grid.ny)
    through = np.stack([network.up, network.down])[..., :groups].reshape(2 * faces, groups)
    blows_north, blows_south = np.zeros((2, 1, grid.ny - 1))
    for face, north in network.rows:
        (blows_north if north else blows_south)[0, face] = 1.0
    return RoomModel(
        network=network,
        basis=air_basis(network),
        treated_share=network.conductances.treated_share,
        mix_x=eddy_m2_per_s * network.conductances.mix_x,
        mix_y=eddy_m2_per_s * network.conductances.mix_y,
        heat_to=network.heat_to.reshape(cells, groups) * air_share,
        inlet_from=np.ascontiguousarray(network.inlet_from.reshape(cells, groups).T),
        through=through,
        across=np.ascontiguousarray((through[:faces] - through[faces:]).T),
        blows_north=blows_north,
        blows_south=blows_south,
        mix_cell_m3_per_s=eddy_m2_per_s * grid.open_face_m,
        structure_j_per_k=capacity,
        structure_w_per_k=inner,
        envelope_w_per_k=outer,
        eye=eye,
        below=np.eye(grid.ny, k=-1),
        above=np.eye(grid.ny, k=1),
    )


def with_air(model: RoomModel, shares: AirShares, eddy_m2_per_s: Array, *, xp: Namespace) -> RoomModel:
    """The same room with other gaps, louvres, leaks and mixing; in torch gradients pass, as a calibration needs.

    Heat, fan and structure factors need nothing of this kind: scale the inputs of :func:`set_air` and :func:`advance`,
    or replace the model's structure fields.

    Args:
        model: the room, in the namespace of the shares.
        shares: open shares of rows, openings and outer walls.
        eddy_m2_per_s: eddy diffusivity, ().
        xp: namespace of all.
    """
    geometry = Geometry(*(xp.asarray(part, like=shares.gap) for part in model.network.geometry))
    through = conductances(model.grid, geometry, shares, xp=xp)
    return replace(
        model,
        basis=air_basis(model.network, through, xp=xp),
        treated_share=through.treated_share,
        mix_x=eddy_m2_per_s * through.mix_x,
        mix_y=eddy_m2_per_s * through.mix_y,
        mix_cell_m3_per_s=eddy_m2_per_s * model.grid.open_face_m,
    )


class RoomEquations(NamedTuple):
    """Heat balance of the cells at one setting of the air, W/K; see :func:`room_equations`.

    Attributes:
        diagonal: what a kelvin of a cell takes away, (nx, ny).
        east, west: what a cell passes to its neighbour at larger x, and back, (nx - 1, ny).
        north, south: the same in y, (nx, ny - 1).
        leave: what goes outdoors with the air, (nx, ny).
        supply, outdoors: what supply air and untreated outdoor air bring in, (nx, ny).
        slope: heat that the miners give less per kelvin of intake, (M,); None for none.
        taken: what of it hangs on the cell in front of a row, upward and downward, (2, nx, ny - 1); None for none.
        returned: share of the air behind a row in its miners' intake that does not pass the cell in front of it,
            (nx, ny - 1); None on a grid of one cell across.
        air_share, old_share, amb_share: how a structure's new temperature is made up: of the air, of its old
            temperature and of outdoors (sum 1).
    """

    diagonal: Array
    east: Array
    west: Array
    north: Array
    south: Array
    leave: Array
    supply: Array
    outdoors: Array
    slope: Array | None
    taken: Array | None
    returned: Array | None
    air_share: float
    old_share: float
    amb_share: float


def room_equations(
    model: RoomModel,
    flows: AirFlows,
    rho_cp_j_per_m3_k: Array,
    dt_s: float,
    heat_slope_w_per_k: Array | None = None,
    *,
    xp: Namespace,
) -> RoomEquations:
    """Set the heat balance up; to be repeated whenever a flow changes.

    The upwind directions belong to these flows: kept for others they would make air colder than anything around it.

    Args:
        model: the room.
        flows: of the air, with or without a batch.
        rho_cp_j_per_m3_k: heat capacity of air, J/(m3 K), () or (B,).
        dt_s: sub-step, s; ``math.inf`` for the steady state.
        heat_slope_w_per_k: if the miners give ``heat - slope * intake`` to the air (a heatsink in its stream), the
            slope of each group, (M,) or (M, B); not above the heat capacity rate of its air.
        xp: namespace of the arrays.
    """
    cp = rho_cp_j_per_m3_k
    like = (slice(None), slice(None)) + (None,) * (flows.out.ndim - 2)
    mix_x, mix_y, treated = model.mix_x[like], model.mix_y[like], model.treated_share[like]
    east_flow, north_flow, out_flow = xp.maximum(flows.x, 0.0), xp.maximum(flows.y, 0.0), xp.maximum(flows.out, 0.0)
    east = cp * (east_flow + mix_x)
    west = cp * (east_flow - flows.x + mix_x)
    north = cp * (north_flow + flows.up + mix_y)
    south = cp * (north_flow - flows.y + flows.down + mix_y)
    returned, taken = None, None
    if model.grid.ny > 1:
        blown, returned = _intake_layer(model, flows, xp=xp)
        short = cp * (blown * returned)
        north, south = north - short, south - short
    leave = cp * (out_flow + flows.exhaust)
    drawn = cp * (out_flow - flows.out)
    through = drawn * treated
    inner, outer = model.structure_w_per_k, model.envelope_w_per_k
    inverse = 1.0 / (model.structure_j_per_k / dt_s + inner + outer)
    diagonal = xp.add_beside(leave + (inner - inner * inverse * inner), east, west, 0)
    diagonal = xp.add_beside(diagonal, north, south, 1)
    if heat_slope_w_per_k is not None and returned is None:  # the miners take in what they blow out
        diagonal = diagonal + (model.inlet_from.T @ heat_slope_w_per_k).reshape(diagonal.shape)
    elif heat_slope_w_per_k is not None:
        all_taken = (model.through @ heat_slope_w_per_k).reshape(2, *north.shape)
        behind = all_taken * returned
        taken = all_taken - behind
        diagonal = xp.add_beside(diagonal, behind[1], behind[0], 1)
    return RoomEquations(
        diagonal=diagonal,
        east=east,
        west=west,
        north=north,
        south=south,
        leave=leave,
        supply=through + cp * flows.intake,
        outdoors=drawn - through,
        slope=heat_slope_w_per_k,
        taken=taken,
        returned=returned,
        air_share=inner * inverse,
        old_share=model.structure_j_per_k / dt_s * inverse,
        amb_share=outer * inverse,
    )


def _intake_layer(model: RoomModel, flows: AirFlows, *, xp: Namespace) -> tuple[Array, Array]:
    """What miners blow through each face in y, m3/s, and the share that they take from behind the row at once."""
    like = (slice(None), slice(None)) + (None,) * (flows.y.ndim - 2)
    to_north, to_south = model.blows_north[like], model.blows_south[like]
    blown = to_north * flows.up + to_south * flows.down
    dampers = flows.up + flows.down - blown
    gaps = (to_north - to_south) * flows.y  # with the miners where positive
    back, net = dampers - xp.minimum(gaps, 0.0), blown - dampers + gaps
    return blown, returned_share(blown, back, net, model.mix_cell_m3_per_s, xp=xp)


class Entering(NamedTuple):
    """What a cell takes from its neighbours, W/K: from west, east, south and north of it."""

    from_west: Array
    from_east: Array
    from_south: Array
    from_north: Array


def entering(model: RoomModel, equations: RoomEquations) -> Entering:
    """Off-diagonal part of the balance: as the neighbours' losses, less what a warm intake takes from miners' heat."""
    south_of, north_of = equations.north, equations.south
    if equations.taken is not None:
        south_of, north_of = south_of - equations.taken[0], north_of - equations.taken[1]
    return Entering(equations.east, equations.west, south_of, north_of)


@dataclass(frozen=True)
class DenseFactor:
    """Inverse of one room's matrix (cells, cells): the fastest for a single room on a coarse grid."""

    inverse: Array

    def solve(self, heat_w: Array) -> Array:
        """Temperatures (nx, ny) for a right-hand side (nx, ny), W."""
        return (self.inverse @ heat_w.reshape(-1)).reshape(heat_w.shape)


@dataclass(frozen=True)
class DenseOnce:
    """The same matrix (cells, cells) kept as it is: a single solution costs half of an inverse."""

    matrix: Array

    def solve(self, heat_w: Array) -> Array:
        """Temperatures (nx, ny) for a right-hand side (nx, ny), W."""
        return np.linalg.solve(self.matrix, heat_w.reshape(-1)).reshape(heat_w.shape)


@dataclass(frozen=True)
class DenseFew:
    """Matrices (B, cells, cells) of a few rooms for a single solution; gradients pass.

    Attributes:
        matrices: of the rooms.
        xp: namespace of the arrays.
    """

    matrices: Array
    xp: Namespace

    def solve(self, heat_w: Array) -> Array:
        """Temperatures for a right-hand side (nx, ny, B), or (nx, ny) of one room, W."""
        right = heat_w.reshape(self.matrices.shape[1], self.matrices.shape[0]).T[:, :, None]
        return self.xp.solve(self.matrices, right)[:, :, 0].T.reshape(heat_w.shape)


@dataclass(frozen=True)
class ColumnFactor:
    """Block elimination over the columns of a batch of rooms.

    Neighbouring columns couple cell by cell, so that each step inverts one small block (ny, ny, B). No pivoting is
    needed: outflow on the diagonal outweighs what enters (M-matrix). No in-place writes, so gradients pass.

    Attributes:
        inverses: of the eliminated blocks, (ny, ny, B) each.
        from_west, from_east: what a cell takes from its neighbours in x, W/K, (nx - 1, ny, B).
        xp: namespace of the arrays.
        single: whether it is one room without a batch axis.
    """

    inverses: tuple[Array, ...]
    from_west: Array
    from_east: Array
    xp: Namespace
    single: bool = False

    def solve(self, heat_w: Array) -> Array:
        """Temperatures (nx, ny, B) for a right-hand side (nx, ny, B), W."""
        if self.single:
            return replace(self, single=False).solve(heat_w[..., None])[..., 0]
        xp, last = self.xp, len(self.inverses) - 1
        done = [_times(self.inverses[0], heat_w[0], xp=xp)]
        for i in range(1, last + 1):
            done.append(_times(self.inverses[i], heat_w[i] + self.from_west[i - 1] * done[-1], xp=xp))
        solved = [done[last]]
        for i in range(last - 1, -1, -1):
            solved.append(done[i] + _times(self.inverses[i], self.from_east[i] * solved[-1], xp=xp))
        return xp.stack(solved[::-1], 0)


def _times(block: Array, vector: Array, *, xp: Namespace) -> Array:
    return xp.sum(block * vector[None], axis=1)


Factor = DenseFactor | DenseOnce | DenseFew | ColumnFactor
"""What :func:`advance` solves with."""


def factorise(model: RoomModel, equations: RoomEquations, *, once: bool = False, xp: Namespace) -> Factor:
    """Factorise the balance, to be reused while the air stands still.

    Args:
        model: the room.
        equations: from :func:`room_equations`.
        once: whether it will be used for one solution.
        xp: namespace of the arrays.

    Returns:
        For one room in numpy a dense inverse; for a batch, or torch, columns; whole matrices for a few rooms at once.
    """
    parts, diagonal = entering(model, equations), equations.diagonal
    single = diagonal.ndim == 2
    if single and xp.name == "numpy":
        matrix = _dense(diagonal, parts)
        return DenseOnce(matrix) if once else DenseFactor(np.linalg.inv(matrix))
    if single:
        diagonal, parts = diagonal[..., None], Entering(*(part[..., None] for part in parts))
    if once and diagonal.shape[2] * (model.grid.nx * model.grid.ny) ** 3 <= DENSE_WORK_MAX:
        return DenseFew(_dense_few(diagonal, parts, xp=xp), xp)
    return replace(_factorise_columns(model, diagonal, parts, xp=xp), single=single)


def _dense_few(diagonal: Array, parts: Entering, *, xp: Namespace) -> Array:
    """The matrices (B, cells, cells), gathered from their entries without in-place writes."""
    nx, ny, rooms = diagonal.shape
    beside = [-part.reshape(part.shape[0] * part.shape[1], rooms) for part in parts]
    entries = xp.concat([diagonal.reshape(nx * ny, rooms), *beside, xp.zeros_like(diagonal[0, :1])], 0)
    places = xp.index(xp.asarray(_entries_at(nx, ny), like=diagonal))
    return xp.rows(entries, places).T.reshape(rooms, nx * ny, nx * ny)


@functools.cache
def _entry_places(nx: int, ny: int) -> npt.NDArray[np.int64]:
    """Where the entries stand in the flattened matrix: the diagonal, then those of :class:`Entering`."""
    cells = nx * ny
    at = np.arange(cells).reshape(nx, ny)
    rows = [at, at[1:], at[:-1], at[:, 1:], at[:, :-1]]
    columns = [at, at[:-1], at[1:], at[:, :-1], at[:, 1:]]
    return np.concatenate([(row * cells + column).ravel() for row, column in zip(rows, columns, strict=True)])


@functools.cache
def _entries_at(nx: int, ny: int) -> npt.NDArray[np.int64]:
    """Which entry stands at each place of the flattened matrix: as in :func:`_entry_places`, last a zero."""
    places = _entry_places(nx, ny)
    entries = np.full((nx * ny) ** 2, places.size)
    entries[places] = np.arange(places.size)
    return entries


def _dense(diagonal: Array, parts: Entering) -> Array:
    """The matrix (cells, cells) of one room in numpy."""
    nx, ny = diagonal.shape
    cells = nx * ny
    matrix = np.zeros(cells * cells, diagonal.dtype)
    beside = np.concatenate([part.reshape(-1) for part in parts])
    places = _entry_places(nx, ny)
    matrix[places[:cells]], matrix[places[cells:]] = diagonal.reshape(-1), -beside
    return matrix.reshape(cells, cells)


def _factorise_columns(model: RoomModel, diagonal: Array, parts: Entering, *, xp: Namespace) -> ColumnFactor:
    nx, ny = model.grid.nx, model.grid.ny
    eye = model.eye[:, :, None]
    if ny > 1:
        closed = xp.zeros_like(diagonal[:, :1])
        from_south = xp.concat([closed, parts.from_south], 1)
        from_north = xp.concat([parts.from_north, closed], 1)
        below, above = model.below[:, :, None], model.above[:, :, None]
        blocks = [
            eye * diagonal[i][:, None] - below * from_south[i][:, None] - above * from_north[i][:, None]
            for i in range(nx)
        ]
    else:
        blocks = [eye * diagonal[i][:, None] for i in range(nx)]
    inverses = [_inverse(blocks[0], eye, xp=xp)]
    for i in range(1, nx):
        carried = parts.from_west[i - 1][:, None] * inverses[-1] * parts.from_east[i - 1][None]
        inverses.append(_inverse(blocks[i] - carried, eye, xp=xp))
    return ColumnFactor(tuple(inverses), parts.from_west, parts.from_east, xp)


def _inverse(block: Array, eye: Array, *, xp: Namespace) -> Array:
    """Gauss-Jordan without pivoting on (n, n, B).

    The pivot row is replaced, not added to its cancelled rest: that would lose two digits in single precision.
    """
    size = block.shape[0]
    if size == 1:
        return 1.0 / block
    others = 1.0 - eye
    rows = [block[k] for k in range(size)]
    for k in range(size):
        pivot = (rows[k] * others[k] + eye[k]) / rows[k][k]
        rows = [pivot if r == k else rows[r] * others[k] - rows[r][k] * pivot for r in range(size)]
    return xp.stack(rows, 0)


def heat_taken_w(model: RoomModel, equations: RoomEquations, air_c: Array, *, xp: Namespace) -> Array:
    """Heat that each cell would have to receive to keep a given field: the matrix of the balance times the field.

    Less :func:`right_hand_side` it is the residual of a field that was not solved for, such as a network's.

    Args:
        model, equations: the room at its air flows.
        air_c: any field, degC, (nx, ny) or (nx, ny, B).
        xp: namespace of the arrays.

    Returns:
        W, same shape.
    """
    parts = entering(model, equations)
    none_x, none_y = xp.zeros_like(air_c[:1]), xp.zeros_like(air_c[:, :1])
    return (
        equations.diagonal * air_c
        - xp.concat([none_x, parts.from_west * air_c[:-1]], 0)
        - xp.concat([parts.from_east * air_c[1:], none_x], 0)
        - xp.concat([none_y, parts.from_south * air_c[:, :-1]], 1)
        - xp.concat([parts.from_north * air_c[:, 1:], none_y], 1)
    )


class RoomTemps(NamedTuple):
    """Air and structure of the cells at the end of a sub-step, degC, (nx, ny) or (nx, ny, B)."""

    air_c: Array
    structure_c: Array


def right_hand_side(
    model: RoomModel,
    equations: RoomEquations,
    structure_c: Array,
    heat_w: Array,
    temp_supply_c: Array,
    temp_amb_c: Array,
) -> Array:
    """Heat that enters the cells whatever their temperature, W, (nx, ny) or (nx, ny, B); see :func:`advance`."""
    held_c = _held_c(equations, structure_c, temp_amb_c)
    return _right_hand_side(model, equations, held_c, heat_w, temp_supply_c, temp_amb_c)


def _held_c(equations: RoomEquations, structure_c: Array, temp_amb_c: Array) -> Array:
    """What a structure's new temperature owes to its old one and to outdoors, degC."""
    return equations.old_share * structure_c + equations.amb_share * temp_amb_c


def _right_hand_side(
    model: RoomModel, equations: RoomEquations, held_c: Array, heat_w: Array, temp_supply_c: Array, temp_amb_c: Array
) -> Array:
    heat = (model.heat_to @ heat_w).reshape(held_c.shape)
    return heat + equations.supply * temp_supply_c + equations.outdoors * temp_amb_c + model.structure_w_per_k * held_c


def advance(
    model: RoomModel,
    equations: RoomEquations,
    factor: Factor,
    structure_c: Array,
    heat_w: Array,
    temp_supply_c: Array,
    temp_amb_c: Array,
) -> RoomTemps:
    """Advance the room by the sub-step for which the equations were set up.

    Args:
        model, equations, factor: the room at its present air flows.
        structure_c: structure at the start, degC, (nx, ny) or (nx, ny, B).
        heat_w: electrical power turned into heat by each group (at an intake of 0 C where a slope is used), W, (M,) or
            (M, B).
        temp_supply_c: air behind pad or coil, degC, () or (B,).
        temp_amb_c: outdoor air, degC, () or (B,).

    Returns:
        Air and structure at the end.
    """
    held_c = _held_c(equations, structure_c, temp_amb_c)
    air = factor.solve(_right_hand_side(model, equations, held_c, heat_w, temp_supply_c, temp_amb_c))
    return RoomTemps(air, equations.air_share * air + held_c)


def structure_after(equations: RoomEquations, air_c: Array, structure_c: Array, temp_amb_c: Array) -> Array:
    """Structure at the end of a sub-step from the air then and the structure before, degC."""
    return equations.air_share * air_c + _held_c(equations, structure_c, temp_amb_c)


def inlet_temps_c(model: RoomModel, equations: RoomEquations, air_c: Array) -> Array:
    """Air that each group takes in, degC, (M,) or (M, B): of the cells in front of it, and what comes back at once."""
    more = air_c.shape[2:]
    front_c = model.inlet_from @ air_c.reshape(model.inlet_from.shape[1], *more)
    if equations.returned is None:
        return front_c
    behind_k = equations.returned * (air_c[:, 1:] - air_c[:, :-1])
    return front_c + model.across @ behind_k.reshape(model.across.shape[1], *more)


def sensor_cells(grid: Grid, places_m: Mapping[str, tuple[float, float]]) -> npt.NDArray[np.int64]:
    """Cells in which sensors hang, for ``air_c.reshape(cells, ...)[index]``.

    A sensor reads its cell: interpolating between cells would be worse by 0.2 to 0.5 K, and wrong across a row.

    Args:
        grid: the cells.
        places_m: name -> (x, y), m.

    Returns:
        Flat indices, in the order of the names.

    Raises:
        ParamsError: a sensor outside the room, or not a number; it is named.
    """
    cells = []
    for name, (x_m, y_m) in places_m.items():
        if not (0.0 <= x_m <= grid.length_m and 0.0 <= y_m <= grid.width_m):
            raise ParamsError(
                explain(
                    f"sensor {name!r} hangs at ({x_m:g}, {y_m:g}) m",
                    allowed=f"inside the room of {grid.length_m:g} x {grid.width_m:g} m",
                )
            )
        i, j = min(int(x_m / grid.dx_m), grid.nx - 1), min(int(y_m / grid.dy_m), grid.ny - 1)
        cells.append(i * grid.ny + j)
    return np.array(cells, dtype=np.int64)


class HeatBalance(NamedTuple):
    """Where the heat of a sub-step went, W, () or (B,): ``miners = air_out + stored + envelope`` to rounding."""

    miners_w: Array
    air_out_w: Array
    stored_w: Array
    envelope_w: Array


def heat_balance(
    model: RoomModel,
    equations: RoomEquations,
    before_c: Array,
    after: RoomTemps,
    heat_w: Array,
    temp_supply_c: Array,
    temp_amb_c: Array,
    dt_s: float,
    *,
    xp: Namespace,
) -> HeatBalance:
    """Account for a sub-step with the temperatures of its end, as the implicit step does.

    Args:
        model, equations: the room.
        before_c: structure at the start, degC.
        after: from :func:`advance`.
        heat_w, temp_supply_c, temp_amb_c: as there.
        dt_s: sub-step, s.
        xp: namespace of the arrays.
    """

    def total(per_cell: Array) -> Array:
        return xp.sum(xp.sum(per_cell, axis=0), axis=0)

    miners = total((model.heat_to @ heat_w).reshape(after.air_c.shape))
    if equations.slope is not None:
        miners = miners - xp.sum(equations.slope * inlet_temps_c(model, equations, after.air_c), axis=0)
    carried = equations.leave * after.air_c - equations.supply * temp_supply_c - equations.outdoors * temp_amb_c
    return HeatBalance(
        miners_w=miners,
        air_out_w=total(carried),
        stored_w=total(model.structure_j_per_k / dt_s * (after.structure_c - before_c)),
        envelope_w=total(model.envelope_w_per_k * (after.structure_c - temp_amb_c)),
    )


def set_air(
    model: RoomModel,
    inputs_m3_per_s: Array,
    rho_cp_j_per_m3_k: Array,
    dt_s: float,
    heat_slope_w_per_k: Array | None = None,
    *,
    once: bool = False,
    xp: Namespace,
) -> tuple[AirFlows, RoomEquations, Factor]:
    """Set flows, equations and factor for a setting of groups, fans and dampers; arguments as in their functions."""
    flows = air_flows(model.basis, inputs_m3_per_s, xp=xp)
    equations = room_equations(model, flows, rho_cp_j_per_m3_k, dt_s, heat_slope_w_per_k, xp=xp)
    return flows, equations, factorise(model, equations, once=once, xp=xp)
