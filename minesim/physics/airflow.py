"""Air in a room as a superposition of potential flows, one for each fan, damper and group of miners.

The room is cut into nx x ny cells of full height. Between neighbouring cells air flows as ``F = G (phi_a - phi_b)``:
the conductance G is high in open air and low through a row of miners; louvres and leaks are conductances to outdoors at
``phi = 0``. Fans, miners and dampers are prescribed flows. Everything is linear, so one solution for a unit flow of
each of them, computed once, gives the field of every setting by one product ``F = C u``.

**Paths are never netted.** What the miners blow through a row and what returns through its gaps are separate flows even
where they cross the same face: their difference carries the right air but the wrong heat. What returns and is taken in
at once is told apart in :mod:`minesim.physics.intake_layer`. Every mass balance closes to rounding. Limits: no jets, no
closed vortices, no buoyancy, leak flow linear in pressure, one density.

All fields have the shape (nx, ny) or (nx, ny, B), the batch last, because that is several times faster for the many
small columns of a coarse grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY, Array, Namespace
from minesim.errors import MissingExtraError, ParamsError, explain
from minesim.physics.room_plan import RoomPlan

Floats = npt.NDArray[Any]

OPEN_AIR_M2_PER_S_PA: Final = 20.0
"""Open air: 1 m/s costs 0.05 Pa/m, one dynamic head over 12 m (assumed)."""
ORIFICE_M_PER_S_PA: Final = 0.775
"""Velocity in the free area of a gap or louvre per pascal: orifice, coefficient 0.6, 1.2 kg/m3, taken at 1 Pa."""
ROW_DEPTH_M: Final = 0.4
"""Depth of a row, over which air mixes through its gaps: the length of an S19 case."""
DENSE_CELLS_MAX: Final = 600
"""Up to here potentials are solved densely by numpy; finer grids need scipy."""


@dataclass(frozen=True)
class Grid:
    """nx x ny equal cells over the plan of a room.

    Attributes:
        nx, ny: cells along and across.
        length_m, width_m, height_m: size of the room.
    """

    nx: int
    ny: int
    length_m: float
    width_m: float
    height_m: float

    @property
    def dx_m(self) -> float:
        """Length of a cell, m."""
        return self.length_m / self.nx

    @property
    def dy_m(self) -> float:
        """Width of a cell, m."""
        return self.width_m / self.ny

    @property
    def cell_m3(self) -> float:
        """Volume of a cell, m3."""
        return self.dx_m * self.dy_m * self.height_m

    @property
    def open_face_m(self) -> float:
        """Area of a face across y over the distance of the cells beside it, m."""
        return self.height_m * self.dx_m / self.dy_m

    @property
    def centres_m(self) -> tuple[Floats, Floats]:
        """Cell centres along x (nx,) and y (ny,), m."""
        return (np.arange(self.nx) + 0.5) * self.dx_m, (np.arange(self.ny) + 0.5) * self.dy_m


class AirShares(NamedTuple):
    """What lets air through, as open shares of areas: the plan's values, or the unknowns of a calibration.

    Attributes:
        gap: of each row, (R,).
        free: of each opening, (K,).
        leak: of the outer walls, ().
    """

    gap: Array
    free: Array
    leak: Array


class Geometry(NamedTuple):
    """Where rows, openings and walls are on a grid.

    Attributes:
        row_faces: 1 on the faces of each row, (R, nx, ny - 1).
        row_covered: share of a face that a row covers, (R, nx, ny - 1).
        opening_m2: wall area of each opening in each cell, (K, nx, ny).
        opening_treated: 1 for an opening with pad or coil, (K,).
        wall_m2: outer wall of each cell, (nx, ny).
    """

    row_faces: Array
    row_covered: Array
    opening_m2: Array
    opening_treated: Array
    wall_m2: Array


class Conductances(NamedTuple):
    """How easily air passes; see :func:`conductances`.

    Attributes:
        x, y: between neighbours, (nx - 1, ny) and (nx, ny - 1), m3/s per Pa.
        out: of a cell to outdoors, (nx, ny), m3/s per Pa.
        treated_share: share of that conductance that leads through pad or coil, (nx, ny).
        mix_x, mix_y: eddy exchange between neighbours at 1 m2/s, m; through a row only by its gaps.
    """

    x: Array
    y: Array
    out: Array
    treated_share: Array
    mix_x: Array
    mix_y: Array


@dataclass(frozen=True)
class AirNetwork:
    """A room cut into cells: what conducts air, and where prescribed flows start and end.

    U = inputs, in the order groups, fans, dampers; entries of the prescribed arrays are shares of the input's flow.

    Attributes:
        grid: the cells.
        inputs: names of the inputs, (U,).
        rows: for each row the face j between cells j and j + 1 on which it lies, and whether it blows north; empty on
            a grid of one cell across.
        geometry: where rows, openings and walls are, for :func:`conductances`.
        conductances: what lets air through, as the plan says.
        up, down: prescribed flows across a face to larger and smaller y, (nx, ny - 1, U).
        exhaust, intake: prescribed flows to and from outdoors, (nx, ny, U).
        heat_to: share of a group's heat that enters a cell, (nx, ny, M).
        inlet_from: share of a cell in a group's intake, (nx, ny, M).
    """

    grid: Grid
    inputs: tuple[str, ...]
    rows: tuple[tuple[int, bool], ...]
    geometry: Geometry
    conductances: Conductances
    up: Floats
    down: Floats
    exhaust: Floats
    intake: Floats
    heat_to: Floats
    inlet_from: Floats


def cut_room(plan: RoomPlan, nx: int, ny: int) -> AirNetwork:
    """Cut a room into nx x ny cells.

    Rows move to the nearest face between cells; groups, fans and openings are spread over the cells that they touch by
    overlap. With one cell across, rows vanish and the miners take in the air that they blow out.

    Args:
        plan: a checked room.
        nx, ny: cells along and across.

    Raises:
        ParamsError: a count below 1, or a grid too coarse to keep two rows (or a row and a wall) apart.
    """
    if nx < 1 or ny < 1:
        raise ParamsError(explain(f"the grid is {nx} x {ny}", allowed="1 or more cells each way"))
    grid = Grid(nx, ny, plan.length_m, plan.width_m, plan.height_m)
    faces = _row_faces(plan, grid)
    names = (*(g.name for g in plan.groups), *(f.name for f in plan.fans), *(d.name for d in plan.dampers))
    count, miners = len(names), len(plan.groups)
    up, down = np.zeros((nx, ny - 1, count)), np.zeros((nx, ny - 1, count))
    heat_to, inlet_from = np.zeros((nx, ny, miners)), np.zeros((nx, ny, miners))
    for number, thing in enumerate(plan.standing):
        row = plan.row(thing.row)
        shares = _covered_m(thing.from_m, thing.to_m, nx, grid.dx_m) / (thing.to_m - thing.from_m)
        face_or_none = faces.get(row.name)
        north = (row.blows == "north") == (number < miners)  # a damper carries the air back
        column = number if number < miners else number + len(plan.fans)
        if face_or_none is not None:
            (up if north else down)[:, face_or_none, column] = shares
        if number < miners:
            hot = 0 if face_or_none is None else face_or_none + (1 if north else 0)
            cold = 0 if face_or_none is None else face_or_none + (0 if north else 1)
            heat_to[:, hot, number] = shares
            inlet_from[:, cold, number] = shares
    exhaust, intake = np.zeros((nx, ny, count)), np.zeros((nx, ny, count))
    for number, fan in enumerate(plan.fans):
        spread = _on_wall(grid, fan.wall, fan.from_m, fan.to_m, fan.y_from_m, fan.y_to_m)
        (exhaust if fan.kind == "exhaust" else intake)[:, :, miners + number] = spread
    geometry = _geometry(plan, grid, faces)
    open_shares = AirShares(
        gap=np.array([row.gap_share for row in plan.rows if row.name in faces]),
        free=np.array([opening.free_share for opening in plan.openings]),
        leak=np.array(plan.leak_share),
    )
    return AirNetwork(
        grid=grid,
        inputs=names,
        rows=tuple((faces[row.name], row.blows == "north") for row in plan.rows if row.name in faces),
        geometry=geometry,
        conductances=conductances(grid, geometry, open_shares, xp=NUMPY),
        up=up,
        down=down,
        exhaust=exhaust,
        intake=intake,
        heat_to=heat_to,
        inlet_from=inlet_from,
    )


def _row_faces(plan: RoomPlan, grid: Grid) -> dict[str, int]:
    """Index of the lower cell of the face on which each row lies."""
    faces: dict[int, str] = {}
    if grid.ny == 1:
        return {}
    for row in plan.rows:
        face = int(np.floor(row.y_m / grid.dy_m + 0.5)) - 1
        if not 0 <= face < grid.ny - 1 or face in faces:
            other = f"row {faces[face]!r}" if face in faces else "the wall"
            raise ParamsError(
                explain(
                    f"with {grid.ny} cells of {grid.dy_m:.2f} m across, row {row.name!r} falls on {other}",
                    allowed="at least one cell on each side of a row, or 1 cell across",
                    origin=f"layout {plan.name!r}",
                    fix="Take more cells across (ny).",
                )
            )
        faces[face] = row.name
    return {name: face for face, name in faces.items()}


def _covered_m(from_m: float, to_m: float, count: int, step_m: float) -> Floats:
    """Length of a segment inside each of ``count`` cells, m."""
    edges = np.arange(count + 1) * step_m
    inside: Floats = np.clip(np.minimum(edges[1:], to_m) - np.maximum(edges[:-1], from_m), 0.0, None)
    return inside


def _on_wall(grid: Grid, wall: str, from_m: float, to_m: float, y_from_m: float = 0.0, y_to_m: float = 0.0) -> Floats:
    """Shares (nx, ny), sum 1, of a device in the cells along its wall or under its part of the roof."""
    shares = np.zeros((grid.nx, grid.ny))
    if wall in ("west", "east"):
        shares[0 if wall == "west" else -1, :] = _covered_m(from_m, to_m, grid.ny, grid.dy_m)
    elif wall in ("south", "north"):
        shares[:, 0 if wall == "south" else -1] = _covered_m(from_m, to_m, grid.nx, grid.dx_m)
    else:
        along = _covered_m(from_m, to_m, grid.nx, grid.dx_m)
        shares += along[:, None] * _covered_m(y_from_m, y_to_m, grid.ny, grid.dy_m)
    spread: Floats = shares / shares.sum()
    return spread


def _geometry(plan: RoomPlan, grid: Grid, faces: dict[str, int]) -> Geometry:
    nx, ny = grid.nx, grid.ny
    rows = [row for row in plan.rows if row.name in faces]
    on, covered = np.zeros((len(rows), nx, ny - 1)), np.zeros((len(rows), nx, ny - 1))
    for number, row in enumerate(rows):
        on[number, :, faces[row.name]] = 1.0
        covered[number, :, faces[row.name]] = _covered_m(row.from_m, row.to_m, nx, grid.dx_m) / grid.dx_m
    openings = [(o.to_m - o.from_m) * grid.height_m * _on_wall(grid, o.wall, o.from_m, o.to_m) for o in plan.openings]
    walls = [
        plan.wall_length_m(wall) * grid.height_m * _on_wall(grid, wall, 0.0, plan.wall_length_m(wall))
        for wall in ("south", "north", "west", "east")
    ]
    return Geometry(
        row_faces=on,
        row_covered=covered,
        opening_m2=np.array(openings).reshape(len(openings), nx, ny),
        opening_treated=np.array([1.0 if o.treated else 0.0 for o in plan.openings]),
        wall_m2=np.sum(walls, axis=0),
    )


def conductances(grid: Grid, geometry: Geometry, shares: AirShares, *, xp: Namespace) -> Conductances:
    """Turn open shares into conductances; differentiable, so that gaps, louvres and leaks can be fitted.

    Args:
        grid, geometry: of a network, ``geometry`` in the namespace of the shares.
        shares: open shares.
        xp: namespace of all.
    """
    along, across = grid.height_m * grid.dy_m / grid.dx_m, grid.open_face_m
    still_x, still_y = 0.0 * geometry.wall_m2[:-1], 0.0 * geometry.wall_m2[:, :-1]
    covered = still_y + xp.sum(geometry.row_covered, axis=0)
    gap_m = grid.dx_m * grid.height_m * (still_y + xp.sum(geometry.row_faces * shares.gap[:, None, None], axis=0))

    def through(open_: float, barrier: Array) -> Array:
        return (1.0 - covered) * open_ + covered * (open_ * barrier / (open_ + barrier))

    openings = ORIFICE_M_PER_S_PA * geometry.opening_m2 * shares.free[:, None, None]
    treated = xp.sum(openings * geometry.opening_treated[:, None, None], axis=0)
    out = xp.sum(openings, axis=0) + ORIFICE_M_PER_S_PA * shares.leak * geometry.wall_m2
    return Conductances(
        x=still_x + OPEN_AIR_M2_PER_S_PA * along,
        y=through(OPEN_AIR_M2_PER_S_PA * across, ORIFICE_M_PER_S_PA * gap_m),
        out=out,
        treated_share=treated / xp.maximum(out, 1e-12),
        mix_x=still_x + along,
        mix_y=through(across, gap_m / ROW_DEPTH_M),
    )


class AirBasis(NamedTuple):
    """Flow through every path per unit of every input; see :func:`air_basis`.

    Attributes:
        matrix: (paths, U); paths are the fields of :class:`AirFlows` one after the other.
        nx, ny: size of the grid.
    """

    matrix: Array
    nx: int
    ny: int


class AirFlows(NamedTuple):
    """Air flows, m3/s, with or without a batch axis at the end.

    Attributes:
        x: by pressure from cell i to i + 1, (nx - 1, ny).
        y: by pressure from cell j to j + 1, through the gaps where there is a row, (nx, ny - 1).
        out: by pressure from a cell to outdoors, (nx, ny); negative where air comes in.
        up, down: by miners and dampers from cell j to j + 1 and back, never negative, (nx, ny - 1).
        exhaust, intake: by fans from and into a cell, never negative, (nx, ny).
    """

    x: Array
    y: Array
    out: Array
    up: Array
    down: Array
    exhaust: Array
    intake: Array


def air_basis(network: AirNetwork, through: Conductances | None = None, *, xp: Namespace = NUMPY) -> AirBasis:
    """Solve the potential for a unit flow of every input, once for a room.

    Args:
        network: the room in cells.
        through: other conductances than the network's own, in numpy or torch; gradients pass in torch.
        xp: namespace of ``through``.

    Returns:
        The basis C, numpy double precision, or as ``through``.

    Raises:
        ParamsError: no opening and no leak: pressures would have no reference.
        MissingExtraError: more than ``DENSE_CELLS_MAX`` cells without scipy.

    References:
        Potential flow with sources: Batchelor, An Introduction to Fluid Dynamics, ch. 6; here with a
        resistance, as in a porous medium, discretised by finite volumes.
    """
    grid, count = network.grid, len(network.inputs)
    if through is None:
        through = network.conductances
    if not (network.conductances.out > 0.0).any():
        raise ParamsError(
            explain(
                "no opening connects the room to outdoors",
                allowed="at least one opening or a leak_share above 0",
                origin="air network",
            )
        )
    # What the prescribed flows put into each cell, which pressure has to carry on.
    net = network.up - network.down
    closed = np.zeros((grid.nx, 1, count))
    gained = network.intake - network.exhaust
    gained = gained + np.concatenate([closed, net], axis=1) - np.concatenate([net, closed], axis=1)
    if xp.name == "numpy":
        flat = _potentials(grid, through, gained.reshape(-1, count))
    else:
        flat = _potentials_torch(grid, through, xp.asarray(gained.reshape(-1, count), like=through.out))
    potential = flat.reshape(grid.nx, grid.ny, count)
    prescribed = [
        xp.asarray(flow, like=potential) for flow in (network.up, network.down, network.exhaust, network.intake)
    ]
    paths = (
        through.x[:, :, None] * (potential[:-1] - potential[1:]),
        through.y[:, :, None] * (potential[:, :-1] - potential[:, 1:]),
        through.out[:, :, None] * potential,
        *prescribed,
    )
    return AirBasis(
        xp.concat([path.reshape(path.shape[0] * path.shape[1], count) for path in paths], 0), grid.nx, grid.ny
    )


def _neighbours(grid: Grid) -> tuple[Floats, Floats]:
    """Cells on both sides of every face, first those in x, then those in y."""
    cells = np.arange(grid.nx * grid.ny).reshape(grid.nx, grid.ny)
    first = np.concatenate([cells[:-1].ravel(), cells[:, :-1].ravel()])
    return first, np.concatenate([cells[1:].ravel(), cells[:, 1:].ravel()])


def _potentials(grid: Grid, through: Conductances, gained: Floats) -> Floats:
    """Solve ``sum of outflows = gained`` for the potential of every cell, (cells, U)."""
    count = grid.nx * grid.ny
    first, second = _neighbours(grid)
    between = np.concatenate([through.x.ravel(), through.y.ravel()])
    diagonal = through.out.ravel() + np.bincount(first, between, count) + np.bincount(second, between, count)
    if count <= DENSE_CELLS_MAX:
        matrix = np.diag(diagonal)
        matrix[first, second] = matrix[second, first] = -between
        return np.linalg.solve(matrix, gained)
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.linalg import splu
    except ImportError as error:
        raise MissingExtraError(
            explain(f"{count} cells need scipy", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    every = np.arange(count)
    entries = np.concatenate([diagonal, -between, -between])
    where = (np.concatenate([every, first, second]), np.concatenate([every, second, first]))
    factor = splu(coo_array((entries, where)).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    solved: Floats = factor.solve(gained)
    return solved


def _potentials_torch(grid: Grid, through: Conductances, gained: Array) -> Array:
    """The same in torch, dense, so that gradients reach the conductances."""
    import torch

    first, second = _neighbours(grid)
    incidence = np.zeros((first.size, grid.nx * grid.ny))
    incidence[np.arange(first.size), first], incidence[np.arange(first.size), second] = 1.0, -1.0
    across = torch.as_tensor(incidence, dtype=gained.dtype, device=gained.device)
    between = torch.cat([through.x.reshape(-1), through.y.reshape(-1)])
    matrix = across.T @ (between[:, None] * across) + torch.diag(through.out.reshape(-1))
    return torch.linalg.solve(matrix, gained)


def air_flows(basis: AirBasis, inputs_m3_per_s: Array, *, xp: Namespace) -> AirFlows:
    """Superpose the potential flows of a setting.

    Args:
        basis: from :func:`air_basis`.
        inputs_m3_per_s: flows of groups, fans and dampers, none negative, (U,) or (U, B).
        xp: namespace of the arrays.

    Returns:
        Flows of every path, m3/s.
    """
    nx, ny, batch = basis.nx, basis.ny, tuple(inputs_m3_per_s.shape[1:])
    flows = xp.dot(basis.matrix, inputs_m3_per_s)
    shapes = ((nx - 1, ny), (nx, ny - 1), (nx, ny), (nx, ny - 1), (nx, ny - 1), (nx, ny), (nx, ny))
    parts, begin = [], 0
    for shape in shapes:
        end = begin + shape[0] * shape[1]
        parts.append(flows[begin:end].reshape(*shape, *batch))
        begin = end
    return AirFlows(*parts)


def recirculated_share(network: AirNetwork, flows: AirFlows, *, xp: Namespace) -> Array:
    """Share of the miners' air that returns from hot to cold aisles through gaps and dampers.

    In a tight shell it is close to ``1 - Qf / Qm`` (room fans over miners) while the fans move less than the miners.

    Args:
        network: the room in cells.
        flows: of a setting, with or without a batch.
        xp: namespace of the flows.

    Returns:
        Share, () or (B,); 0 where no miner moves air.
    """
    backward = forward = 0.0 * xp.sum(flows.out[0], axis=0)
    for face, north in network.rows:
        gap = flows.y[:, face] if north else -flows.y[:, face]
        damper, miners = (flows.down, flows.up) if north else (flows.up, flows.down)
        backward = backward + xp.sum(xp.maximum(-gap, 0.0) + damper[:, face], axis=0)
        forward = forward + xp.sum(miners[:, face], axis=0)
    return xp.above(forward, 0.0) * backward / xp.maximum(forward, 1e-9)


def air_balance_m3_per_s(flows: AirFlows, *, xp: Namespace) -> Array:
    """Air that each cell gains, which is zero up to rounding, (nx, ny) or (nx, ny, B), m3/s."""
    net = flows.y + flows.up - flows.down
    closed_x, closed_y = xp.zeros_like(flows.out[:1]), xp.zeros_like(flows.out[:, :1])
    into_x = xp.concat([closed_x, flows.x], 0) - xp.concat([flows.x, closed_x], 0)
    into_y = xp.concat([closed_y, net], 1) - xp.concat([net, closed_y], 1)
    return into_x + into_y + flows.intake - flows.exhaust - flows.out


def velocity_at_m_per_s(grid: Grid, flows: AirFlows, x_m: Array, y_m: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Mean air velocity at points, in the lowest Raviart-Thomas form: its integral over a face is the solver's flow.

    Walls let nothing through: fans and openings are sources and sinks spread over their cells (:func:`source_at`). In a
    row this is the net of miners and gaps, which is why a pointwise equation cannot contain the recirculation.

    Args:
        grid: the cells.
        flows: of one setting (no batch).
        x_m, y_m: points inside the room, any shape, m.
        xp: namespace of flows and points.

    Returns:
        Velocity along x and y, m/s, same shape.
    """
    closed_x, closed_y = xp.zeros_like(flows.out[:1]), xp.zeros_like(flows.out[:, :1])
    full_x = xp.concat([closed_x, flows.x, closed_x], 0).reshape(-1)
    full_y = xp.concat([closed_y, flows.y + flows.up - flows.down, closed_y], 1).reshape(-1)
    i, j = _cell_of(grid, x_m, y_m, xp=xp)
    share_x, share_y = x_m / grid.dx_m - i, y_m / grid.dy_m - j
    west, south = xp.index(i * grid.ny + j), xp.index(i * (grid.ny + 1) + j)
    flow_x = (1.0 - share_x) * xp.take(full_x, west) + share_x * xp.take(full_x, west + grid.ny)
    flow_y = (1.0 - share_y) * xp.take(full_y, south) + share_y * xp.take(full_y, south + 1)
    return flow_x / (grid.dy_m * grid.height_m), flow_y / (grid.dx_m * grid.height_m)


def source_at(grid: Grid, per_cell: Array, x_m: Array, y_m: Array, *, xp: Namespace) -> Array:
    """Source density at points: what a cell receives, spread evenly over it.

    Args:
        grid: the cells.
        per_cell: heat (W), air (m3/s) or anything else that enters each cell, (nx, ny).
        x_m, y_m: points inside the room, any shape, m.
        xp: namespace of all.

    Returns:
        Source per cubic metre (W/m3, 1/s, ...), same shape as the points.
    """
    i, j = _cell_of(grid, x_m, y_m, xp=xp)
    return xp.take(per_cell.reshape(-1), xp.index(i * grid.ny + j)) / grid.cell_m3


def eddy_at_m2_per_s(network: AirNetwork, eddy_m2_per_s: float, x_m: Array, y_m: Array, *, xp: Namespace) -> Array:
    """Eddy diffusivity in y as the solver takes it, at points: of the aisles, or less where a row is in the way.

    Args:
        network: the room in cells.
        eddy_m2_per_s: diffusivity of the aisles.
        x_m, y_m: points inside the room, any shape, m.
        xp: namespace of the points.

    Returns:
        Diffusivity across the nearest face between cells in y, m2/s.
    """
    grid = network.grid
    if grid.ny == 1:
        return eddy_m2_per_s * xp.ones_like(y_m)
    i, _ = _cell_of(grid, x_m, y_m, xp=xp)
    face = xp.clip(xp.round(y_m / grid.dy_m) - 1.0, 0.0, grid.ny - 2.0)
    open_share = network.conductances.mix_y * grid.dy_m / (grid.height_m * grid.dx_m)
    table = xp.asarray(open_share, like=y_m).reshape(-1)
    return eddy_m2_per_s * xp.take(table, xp.index(i * (grid.ny - 1) + face))


def _cell_of(grid: Grid, x_m: Array, y_m: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Cell indices of points as whole floating numbers; points on the far walls belong to the last cell."""
    i = xp.clip(xp.floor(x_m / grid.dx_m), 0.0, grid.nx - 1.0)
    return i, xp.clip(xp.floor(y_m / grid.dy_m), 0.0, grid.ny - 1.0)
