"""Unknown coefficients and faults of a room inside the heat balance of a network: an inverse problem.

Which unknowns there are, and their priors, are those of :mod:`minesim.calibrate.unknowns`. Here they are numbers in
units of their prior's standard deviation, so that one learning rate fits all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from minesim.arrays import Array, torch_namespace
from minesim.calibrate.room_twin import HELD_S
from minesim.calibrate.unknowns import Kind, Unknown
from minesim.physics.airflow import AirShares, air_flows
from minesim.physics.room_grid import RoomEquations, RoomModel, room_equations, with_air
from minesim.physics.room_plan import RoomPlan


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
    """A record's settings and the room on a grid, single precision; air flows in double precision.

    Attributes:
        plan: the layout.
        unknowns: what may be wrong, P.
        model: nominal room, double precision.
        flows, heat: (U, T) and (M, T).
        rho_cp: (T,).
        step_s: between rows.
        sensors: how many.
    """

    plan: RoomPlan
    unknowns: tuple[Unknown, ...]
    model: RoomModel
    flows: Array
    heat: Array
    rho_cp: Array
    step_s: float
    sensors: int

    def balance(self, scaled: torch.Tensor, rows: torch.Tensor) -> Balance:
        """Set the balance of some rows up.

        Args:
            scaled: unknowns in units of their prior's standard deviation, (P,).
            rows: which, (B,).
        """
        xp = torch_namespace()
        theta = self._theta(scaled)
        model = self._room(theta)
        factor = torch.cat(
            [
                self._values(theta, "group", len(self.plan.groups)),
                self._values(theta, "fan", len(self.plan.fans)),
                self._values(theta, "damper", len(self.plan.dampers)),
            ]
        )
        flows = air_flows(model.basis, self.flows[:, rows] * factor[:, None], xp=xp)
        equations = room_equations(model, flows, self.rho_cp[rows], HELD_S, xp=xp)
        return Balance(
            model=model,
            equations=equations,
            heat_w=self.heat[:, rows] * self._values(theta, "heat", len(self.plan.groups))[:, None],
            bias_k=self._values(theta, "bias", self.sensors),
        )

    def memory(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Share of itself that the structure keeps over a row, and share of the air in what it tends to."""
        theta = self._theta(scaled)
        inner = self.model.structure_w_per_k * self._values(theta, "structure_w", 1)[0]
        outer = self.model.envelope_w_per_k * self._values(theta, "envelope_w", 1)[0]
        capacity = self.model.structure_j_per_k * self._values(theta, "structure_j", 1)[0]
        return torch.exp(-(inner + outer) * self.step_s / capacity), inner / (inner + outer)

    def factors(self, scaled: torch.Tensor) -> list[float]:
        """Values of the unknowns: factors on nominal numbers, or offsets in their unit."""
        theta = self._theta(scaled.detach())
        return [float(t if u.is_offset else torch.exp(t)) for t, u in zip(theta, self.unknowns, strict=True)]

    def _theta(self, scaled: torch.Tensor) -> torch.Tensor:
        if not self.unknowns:
            return scaled
        low, high = (scaled.new_tensor(part) for part in zip(*(u.bounds for u in self.unknowns), strict=True))
        return torch.clamp(scaled * scaled.new_tensor([u.prior.sd for u in self.unknowns]), low, high)

    def _values(self, theta: torch.Tensor, kind: Kind, count: int) -> torch.Tensor:
        """Factors (offsets for a bias) of a kind, (count,); 1 (0) where nothing is unknown."""
        places = [(unknown.index, p) for p, unknown in enumerate(self.unknowns) if unknown.kind == kind]
        spread = torch.zeros(count, len(self.unknowns))
        for index, column in places:
            spread[index, column] = 1.0
        logs = spread @ theta
        return logs if kind == "bias" else torch.exp(logs)

    def _room(self, theta: torch.Tensor) -> RoomModel:
        """The room with its unknowns; potentials in double precision, the rest in single."""
        model, plan = self.model, self.plan
        if any(unknown.kind in ("gap", "free", "leak", "eddy") for unknown in self.unknowns):
            exact = theta.double()
            shares = AirShares(
                gap=_nominal(exact, [r.gap_share for r in plan.rows]) * self._exact(theta, "gap", len(plan.rows)),
                free=_nominal(exact, [o.free_share for o in plan.openings])
                * self._exact(theta, "free", len(plan.openings)),
                leak=plan.leak_share * self._exact(theta, "leak", 1)[0],
            )
            eddy = plan.eddy_m2_per_s * self._exact(theta, "eddy", 1)[0]
            model = with_air(model, shares, eddy, xp=torch_namespace())
        model = model.to(lambda array: array.float())
        return replace(
            model,
            structure_w_per_k=model.structure_w_per_k * self._values(theta, "structure_w", 1)[0],
            envelope_w_per_k=model.envelope_w_per_k * self._values(theta, "envelope_w", 1)[0],
        )

    def _exact(self, theta: torch.Tensor, kind: Kind, count: int) -> torch.Tensor:
        return self._values(theta, kind, count).double()


def _nominal(like: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    return like.new_tensor(list(values))
