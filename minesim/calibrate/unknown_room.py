"""A room on a grid as a function of its unknowns, differentiable in torch.

What calibration by least squares (:mod:`minesim.calibrate.room_twin`) and networks with unknowns share. Fields come in
the precision of ``theta``; potentials of the air, whose matrix is badly conditioned, are solved in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from minesim.arrays import Array, torch_namespace
from minesim.calibrate.unknowns import Kind, Unknown
from minesim.physics.airflow import AirShares, air_flows
from minesim.physics.room_grid import RoomEquations, RoomModel, room_equations, with_air
from minesim.physics.room_plan import RoomPlan

HELD_S: Final = 1e-6
"""A sub-step so short that the structure stands still in it."""
IN_AIR_PATHS: Final = ("gap", "free", "leak", "eddy")
"""Kinds that change the paths of the air, not only what is set or heated."""


@dataclass(frozen=True)
class UnknownRoom:
    """A layout on a grid and what may be wrong with it.

    Attributes:
        plan: the layout, its openings in parts where these may be blocked.
        unknowns: in the order of ``theta``, (P,).
        model: the room at nominal values, torch in double precision.
    """

    plan: RoomPlan
    unknowns: tuple[Unknown, ...]
    model: RoomModel

    def factors(self, theta: Array, kind: Kind, count: int) -> Array:
        """Factors on the nominal values of a kind, (count,); 1 where nothing is unknown."""
        import torch

        return torch.exp(self.offsets(theta, kind, count))

    def offsets(self, theta: Array, kind: Kind, count: int) -> Array:
        """Unknowns of a kind as they are: offsets, or logarithms of factors, (count,); 0 where nothing is unknown."""
        import torch

        spread = torch.zeros(count, len(self.unknowns), dtype=theta.dtype)
        for place, unknown in enumerate(self.unknowns):
            if unknown.kind == kind:
                spread[unknown.index, place] = 1.0
        return spread @ theta

    def heat_factors(self, theta: Array) -> Array:
        """On the heat of the groups, (M, 1)."""
        return self.factors(theta, "heat", len(self.plan.groups))[:, None]

    def input_factors(self, theta: Array) -> Array:
        """On the flows of groups, fans and dampers, (U, 1)."""
        import torch

        plan = self.plan
        kinds: tuple[tuple[Kind, int], ...] = (
            ("group", len(plan.groups)),
            ("fan", len(plan.fans)),
            ("damper", len(plan.dampers)),
        )
        return torch.cat([self.factors(theta, kind, count) for kind, count in kinds])[:, None]

    def at(self, theta: Array) -> RoomModel:
        """The room with these unknowns."""
        model, plan = self.model, self.plan
        if any(unknown.kind in IN_AIR_PATHS for unknown in self.unknowns):
            exact = theta.double()
            gaps, openings = [r.gap_share for r in plan.rows], [o.free_share for o in plan.openings]
            shares = AirShares(
                gap=exact.new_tensor(gaps) * self.factors(exact, "gap", len(gaps)),
                free=exact.new_tensor(openings) * self.factors(exact, "free", len(openings)),
                leak=plan.leak_share * self.factors(exact, "leak", 1)[0],
            )
            eddy = plan.eddy_m2_per_s * self.factors(exact, "eddy", 1)[0]
            model = with_air(model, shares, eddy, xp=torch_namespace())
        model = model.to(lambda array: array.to(theta.dtype))
        inner, outer = self._conductances(theta)
        return replace(model, structure_w_per_k=inner, envelope_w_per_k=outer)

    def equations(self, theta: Array, inputs_m3_per_s: Array, rho_cp: Array) -> tuple[RoomModel, RoomEquations]:
        """The room and its heat balance with the structure held.

        Args:
            theta: unknowns, (P,).
            inputs_m3_per_s: nominal flows of groups, fans and dampers, (U, B).
            rho_cp: heat capacity of the air, J/(m3 K), (B,).
        """
        xp, model = torch_namespace(), self.at(theta)
        flows = air_flows(model.basis, inputs_m3_per_s * self.input_factors(theta), xp=xp)
        return model, room_equations(model, flows, rho_cp, HELD_S, xp=xp)

    def memory(self, theta: Array, step_s: float) -> tuple[Array, Array]:
        """Share of itself that the structure keeps over a step, and share of the air in what it tends to."""
        import torch

        inner, outer = self._conductances(theta)
        capacity = self.model.structure_j_per_k * self.factors(theta, "structure_j", 1)[0]
        return torch.exp(-(inner + outer) * step_s / capacity), inner / (inner + outer)

    def _conductances(self, theta: Array) -> tuple[Array, Array]:
        """Air to structure and structure to outdoors of a cell, W/K."""
        inner = self.model.structure_w_per_k * self.factors(theta, "structure_w", 1)[0]
        outer = self.model.envelope_w_per_k * self.factors(theta, "envelope_w", 1)[0]
        return inner, outer
