"""Unknown coefficients and faults of a room inside the heat balance of a network: an inverse problem.

Which unknowns there are, and their priors, are those of :mod:`minesim.calibrate.unknowns`. Here they are numbers in
units of their prior's standard deviation, so that one learning rate fits all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from minesim.arrays import Array
from minesim.calibrate.unknown_room import UnknownRoom
from minesim.calibrate.unknowns import Unknown
from minesim.physics.room_grid import RoomEquations, RoomModel


class Balance(NamedTuple):
    """The heat balance of some rows with the present unknowns.

    Attributes:
        model, equations: the room with a held structure.
        heat_w: of each group, (M, B).
        bias_k: of each sensor, (N,) or zero.
    """

    model: RoomModel
    equations: RoomEquations
    heat_w: Array
    bias_k: Array


def detached(balance: Balance) -> Balance:
    """The same numbers, through which no gradient reaches the unknowns."""
    model, equations, heat, bias = balance

    def cut(part: Any) -> Any:
        return part.detach() if isinstance(part, torch.Tensor) else part

    still = replace(
        model.to(cut),
        structure_w_per_k=cut(model.structure_w_per_k),
        envelope_w_per_k=cut(model.envelope_w_per_k),
        structure_j_per_k=cut(model.structure_j_per_k),
    )
    return Balance(still, RoomEquations(*map(cut, equations)), cut(heat), cut(bias))


@dataclass(frozen=True)
class RoomCoefficients:
    """A record's settings and the room on a grid, single precision; potentials of the air in double precision.

    Attributes:
        room: with the unknowns, P.
        flows, heat: (U, T) and (M, T).
        rho_cp: (T,).
        step_s: between rows.
        sensors: how many.
    """

    room: UnknownRoom
    flows: Array
    heat: Array
    rho_cp: Array
    step_s: float
    sensors: int

    @property
    def unknowns(self) -> tuple[Unknown, ...]:
        """What may be wrong."""
        return self.room.unknowns

    def balance(self, scaled: torch.Tensor, rows: torch.Tensor) -> Balance:
        """Set the balance of some rows up.

        Args:
            scaled: unknowns in units of their prior's standard deviation, (P,).
            rows: which, (B,).
        """
        theta = self._theta(scaled)
        model, equations = self.room.equations(theta, self.flows[:, rows], self.rho_cp[rows])
        heat = self.heat[:, rows] * self.room.heat_factors(theta)
        return Balance(model, equations, heat, self.room.offsets(theta, "bias", self.sensors))

    def memory(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Share of itself that the structure keeps over a row, and share of the air in what it tends to."""
        return self.room.memory(self._theta(scaled), self.step_s)

    def factors(self, scaled: torch.Tensor) -> list[float]:
        """Values of the unknowns: factors on nominal numbers, or offsets in their unit."""
        theta = self._theta(scaled.detach())
        return [float(t if u.is_offset else torch.exp(t)) for t, u in zip(theta, self.unknowns, strict=True)]

    def _theta(self, scaled: torch.Tensor) -> torch.Tensor:
        if not self.unknowns:
            return scaled
        low, high = (scaled.new_tensor(part) for part in zip(*(u.bounds for u in self.unknowns), strict=True))
        return torch.clamp(scaled * scaled.new_tensor([u.prior.sd for u in self.unknowns]), low, high)
