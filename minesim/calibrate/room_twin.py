"""The room of a telemetry record as a function of its unknowns, with exact derivatives, in torch.

At steps of minutes the air is quasi-steady and only the structure remembers. All rows of a record are therefore solved
side by side, one batch, with the structure as given (``S``); the structure then follows from the air by its own
exponential, and a few sweeps of both settle (each shrinks the error by the structure's share of a cell's heat exchange:
a few percent in a ventilated room, a third where little air moves):

    A(theta) T = b(theta, S)             balance of :mod:`minesim.physics.room_grid`, structure held
    S_n = e S_(n-1) + (1 - e) (w T_n + (1 - w) T_outdoors),   e = exp(-(k + u) dt / C),   w = k / (k + u)

The balance is linear in T, so that its derivative needs no derivative of a factorisation:
``A dT = d(b - A T) at fixed T``, with the factor that is there already. The right-hand side is differentiated by
torch in forward mode. The record starts settled: S of the first row belongs to its air.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.arrays import Array, torch_namespace
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknown_room import UnknownRoom
from minesim.calibrate.unknowns import Unknown
from minesim.physics.room_grid import (
    ColumnFactor,
    RoomEquations,
    RoomModel,
    factorise,
    heat_taken_w,
    right_hand_side,
    room_model,
)
from minesim.physics.room_plan import RoomPlan

Floats = npt.NDArray[np.float64]

SWEEPS_MAX: Final = 30
SETTLED: Final = 1e-7
"""A sweep that changes the structure by less than this share of its spread is the last."""
SETTLED_CHANGE: Final = 1e-4
"""The same for a derivative, whose use is a direction and an interval."""
CHUNK: Final = 16
"""Unknowns that are differentiated side by side; more take more memory, not less time."""


class Fields(NamedTuple):
    """Air and structure of all rows, degC, (nx, ny, T), with what derivatives need.

    Attributes:
        air_c, structure_c: the fields.
        factor: of the balance at all rows.
    """

    air_c: Array
    structure_c: Array
    factor: ColumnFactor


@dataclass(frozen=True)
class RoomTwin:
    """A record on a grid, as torch tensors in double precision.

    Attributes:
        room: with the unknowns of ``theta``, (P,).
        inputs, heat: flows (U, T) and heat (M, T).
        supply_c, amb_c, rho_cp: (T,).
        step_s: between rows.
    """

    room: UnknownRoom
    inputs: Array
    heat: Array
    supply_c: Array
    amb_c: Array
    rho_cp: Array
    step_s: float

    def solve(self, theta: Floats) -> Fields:
        """Fields of all rows at a value of the unknowns, (P,)."""
        import torch

        with torch.no_grad():
            values = torch.as_tensor(theta, dtype=torch.float64)
            model, equations = self.room.equations(values, self.inputs, self.rho_cp)
            factor = factorise(model, equations, xp=torch_namespace())
            air = structure = self.amb_c.expand(equations.diagonal.shape)
            for _ in range(SWEEPS_MAX):
                air = factor.solve(self._right(values, model, equations, structure))
                before, structure = structure, self._structure(values, air)
                if _settled(structure - before, structure - self.amb_c, SETTLED):
                    break
        assert isinstance(factor, ColumnFactor)
        return Fields(air, structure, factor)

    def derivative(self, theta: Floats, fields: Fields) -> Array:
        """Derivative of the air by the unknowns, (nx, ny, T, P), in single precision, which halves its cost.

        Args:
            theta: unknowns, (P,).
            fields: from :meth:`solve` at the same theta.
        """
        import torch

        with torch.no_grad():
            return self._single()._derivative(torch.as_tensor(theta, dtype=torch.float32), _single_fields(fields))

    def _single(self) -> RoomTwin:
        """The same record in single precision; the air's potentials stay double."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {
            name: part.float() for name, part in parts.items() if not isinstance(part, UnknownRoom | float)
        }
        return replace(self, **changed)

    def _derivative(self, values: Array, fields: Fields) -> Array:
        import torch

        air, structure, factor = fields

        def imbalance(at: Array) -> Array:
            model, equations = self.room.equations(at, self.inputs, self.rho_cp)
            taken = heat_taken_w(model, equations, air, xp=torch_namespace())
            return self._right(at, model, equations, structure) - taken

        source = _forward(imbalance, values)
        held = _forward(lambda at: self._structure(at, air), values)
        inner = self.room.at(values).structure_w_per_k
        change, follows = torch.zeros_like(source), held
        for _ in range(SWEEPS_MAX):
            change = _solve_many(factor, source + inner * follows)
            before, follows = follows, held + self._structure_change(values, change)
            if _settled(follows - before, follows, SETTLED_CHANGE):
                break
        return change

    def _right(self, theta: Array, model: RoomModel, equations: RoomEquations, structure: Array) -> Array:
        heat = self.heat * self.room.heat_factors(theta)
        return right_hand_side(model, equations, structure, heat, self.supply_c, self.amb_c)

    def _structure(self, theta: Array, air: Array) -> Array:
        """Structure at the end of every row, (nx, ny, T)."""
        kept, share = self.room.memory(theta, self.step_s)
        return _follow(share * air + (1.0 - share) * self.amb_c, kept)

    def _structure_change(self, theta: Array, air_change: Array) -> Array:
        """The same for changes of the air, (nx, ny, T, P)."""
        kept, share = self.room.memory(theta, self.step_s)
        return _follow(share * air_change, kept)


def room_twin(
    telemetry: RoomTelemetry, plan: RoomPlan, unknowns: Sequence[Unknown], nx: int = 24, ny: int = 12
) -> RoomTwin:
    """Cut the room of a record into cells.

    Args:
        telemetry: the record; its readings are not used here.
        plan: its layout, perhaps with openings in parts.
        unknowns: of this plan.
        nx, ny: cells along and across.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch_namespace()  # says how to install torch where it is missing
    import torch

    def tensor(values: Any) -> Array:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64)

    return RoomTwin(
        room=UnknownRoom(plan, tuple(unknowns), room_model(plan, nx, ny).to(tensor)),
        inputs=tensor(telemetry.inputs_m3_per_s.T),
        heat=tensor(telemetry.heat_w.T),
        supply_c=tensor(telemetry.temp_supply_c),
        amb_c=tensor(telemetry.temp_amb_c),
        rho_cp=tensor(telemetry.rho_cp_j_per_m3_k),
        step_s=telemetry.step_s,
    )


def _forward(function: Callable[[Array], Array], at: Array) -> Array:
    """Derivative (..., P) of a function of (P,), by forward mode."""
    import torch

    def along(tangent: Array) -> Array:
        change: Array = torch.func.jvp(function, (at,), (tangent,))[1]
        return change

    return torch.vmap(along, out_dims=-1, chunk_size=CHUNK)(torch.eye(at.shape[0], dtype=at.dtype))


def _settled(step: Array, size: Array, share: float) -> bool:
    """Whether a sweep hardly changed anything any more."""
    return bool(step.abs().max() <= share * size.abs().max())


def _single_fields(fields: Fields) -> Fields:
    factor = fields.factor
    single = replace(
        factor,
        inverses=tuple(inverse.float() for inverse in factor.inverses),
        from_west=factor.from_west.float(),
        from_east=factor.from_east.float(),
    )
    return Fields(fields.air_c.float(), fields.structure_c.float(), single)


def _follow(target: Array, kept: Array) -> Array:
    """What follows a target (nx, ny, T, ...) and keeps a share of itself each row; it starts at the first target."""
    import torch

    at = target[:, :, 0]
    course = [at]
    for row in range(1, target.shape[2]):
        at = kept * at + (1.0 - kept) * target[:, :, row]
        course.append(at)
    return torch.stack(course, 2)


def _solve_many(factor: ColumnFactor, heat: Array) -> Array:
    """Solve the balance for P right-hand sides (nx, ny, T, P), as products of matrices row by row."""
    import torch

    def times(column: int, right: Array) -> Array:
        return torch.einsum("ijt,jtp->itp", factor.inverses[column], right)

    last = len(factor.inverses) - 1
    done = [times(0, heat[0])]
    for i in range(1, last + 1):
        done.append(times(i, heat[i] + factor.from_west[i - 1][..., None] * done[-1]))
    solved = [done[last]]
    for i in range(last - 1, -1, -1):
        solved.append(done[i] + times(i, factor.from_east[i][..., None] * solved[-1]))
    return torch.stack(solved[::-1], 0)
