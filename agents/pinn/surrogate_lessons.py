"""What a surrogate learns from: solved fields, or the heat balance alone.

The balance ``A(u) T = b`` needs no solved field: a network's T leaves a residual, and the residual is the loss. Divided
by each cell's own outflow it hardly feels errors that many cells share (slow modes). Multiplied by the inverse of the
matrix at a *similar* setting it is nearly the error of the temperature itself. Eight such inverses serve thousands of
settings, and their columns, the room's answers to heat and supply there, span the modes.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch

from agents.pinn.steady import (
    Floats,
    RoomSettings,
    SettingsRange,
    residual_k,
    residual_w,
    solve_rise_k,
)
from agents.pinn.surrogate import Surrogate, rows_of
from minesim.arrays import NUMPY, torch_namespace
from minesim.physics.psychrometrics import heat_capacity_air_j_per_m3_k
from minesim.physics.room_grid import RoomModel, set_air
from minesim.physics.room_plan import RoomPlan
from minesim.units import PRESSURE_SEA_LEVEL_PA

POD_SAMPLES = 4000
"""Solved fields from which modes are taken at most."""
MEDIUM_C = 15.0
"""Outdoor air of the reference settings."""


class Lesson(Protocol):
    """Something that tells a network how wrong it is on some of the settings."""

    @property
    def modes(self) -> tuple[Floats, Floats]:
        """Fields that span what occurs, (cells, K), and the usual size of their coefficients, (K,)."""
        ...

    def loss(self, surrogate: Surrogate, index: torch.Tensor) -> torch.Tensor:
        """Mean square error, K^2, on settings ``index``."""
        ...


class SolvedFields:
    """The difference to fields that the solver gave.

    Args:
        model: the room, numpy.
        settings: to learn from.
        count: modes.
    """

    def __init__(self, model: RoomModel, settings: RoomSettings, count: int) -> None:
        fields = solve_rise_k(model, settings, xp=NUMPY)
        self.wanted = torch.as_tensor(fields, dtype=torch.float32).permute(2, 0, 1).contiguous()
        self.rows = rows_of(settings)
        some = np.random.default_rng(0).permutation(settings.count)[:POD_SAMPLES]
        flat = fields.reshape(-1, settings.count)[:, some]
        left, sizes, _ = np.linalg.svd(
            flat / np.sqrt((_causes_k(settings) ** 2).mean(axis=0))[some], full_matrices=False
        )
        self.modes = left[:, :count], sizes[:count] / math.sqrt(len(some))

    def loss(self, surrogate: Surrogate, index: torch.Tensor) -> torch.Tensor:
        """See :class:`Lesson`."""
        return torch.mean((surrogate(*(part[index] for part in self.rows)) - self.wanted[index]) ** 2)


class HeatBalance:
    """The residual of the heat balance; no field is solved.

    Args:
        plan, model: the room, numpy.
        settings: to learn from.
        span: where they come from.
        count: modes at most.
        references: settings with inverse matrices, evenly over the ratio of room fans to miners; 0 for none: then the
            residual is divided by the cells' own outflow and each cell is a mode.
    """

    def __init__(
        self,
        plan: RoomPlan,
        model: RoomModel,
        settings: RoomSettings,
        span: SettingsRange,
        count: int,
        references: int,
    ) -> None:
        self.xp = torch_namespace()
        self.model = model.to(_single)
        self.settings = settings.to(_single)
        self.rows = rows_of(settings)
        cells = model.grid.nx * model.grid.ny
        self.modes = np.eye(cells), np.ones(cells)
        self.inverses: list[torch.Tensor] = []
        if references:
            ratios = np.linspace(*span.fans_over_miners, references)
            inverses, answers = zip(*(_reference(plan, model, span, float(r)) for r in ratios), strict=True)
            self.inverses = [_single(inverse) for inverse in inverses]
            left, sizes, _ = np.linalg.svd(np.concatenate(answers, axis=1), full_matrices=False)
            self.modes = left[:, :count], sizes[:count] / math.sqrt(references * len(plan.groups))
            groups, fans = len(plan.groups), len(plan.fans)
            flows = settings.flows_m3_per_s
            ratio = flows[groups : groups + fans].sum(axis=0) / np.maximum(flows[:groups].sum(axis=0), 1e-9)
            self.nearest = torch.as_tensor(np.abs(ratio[:, None] - ratios).argmin(axis=1))

    def loss(self, surrogate: Surrogate, index: torch.Tensor) -> torch.Tensor:
        """See :class:`Lesson`."""
        if not self.inverses:
            rise = self._rise(surrogate, index)
            return torch.mean(residual_k(self.model, self.settings.take(index), rise, xp=self.xp) ** 2)
        index = index[self.nearest[index].argsort(stable=True)]
        counts = torch.bincount(self.nearest[index], minlength=len(self.inverses)).tolist()
        rise = self._rise(surrogate, index)
        missed = residual_w(self.model, self.settings.take(index), rise, xp=self.xp).reshape(-1, len(index))
        parts = torch.split(missed, counts, dim=1)
        return torch.mean(torch.cat([p @ part for p, part in zip(self.inverses, parts, strict=True)], 1) ** 2)

    def _rise(self, surrogate: Surrogate, index: torch.Tensor) -> torch.Tensor:
        rise: torch.Tensor = surrogate(*(part[index] for part in self.rows))
        return rise.permute(1, 2, 0)


def lesson_of(
    name: str,
    plan: RoomPlan,
    model: RoomModel,
    settings: RoomSettings,
    span: SettingsRange,
    modes: int,
    references: int,
) -> Lesson:
    """A lesson by its name in :data:`agents.pinn.surrogate_settings.LESSONS`."""
    if name == "solves":
        return SolvedFields(model, settings, modes)
    return HeatBalance(plan, model, settings, span, modes, references if name == "physics" else 0)


def _reference(plan: RoomPlan, model: RoomModel, span: SettingsRange, ratio: float) -> tuple[Floats, Floats]:
    """Inverse matrix in the middle of the range at a ratio of fans to miners, and its answers to 1 K of each cause."""
    level = float(np.mean(span.miner_level) * np.mean(span.group_share))
    miners = level * np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    fans = np.array([f.flow_m3_per_s for f in plan.fans])
    dampers = 0.5 * float(np.mean(span.damper_open)) * np.array([d.flow_m3_per_s for d in plan.dampers])
    flows = np.concatenate([miners, fans / fans.sum() * (ratio * miners.sum()), dampers])
    cp = float(heat_capacity_air_j_per_m3_k(MEDIUM_C, PRESSURE_SEA_LEVEL_PA))
    _, equations, factor = set_air(model, flows, cp, math.inf, xp=NUMPY)
    heat = model.heat_to * (cp * miners.sum() / len(miners))
    inverse = factor.inverse  # type: ignore[union-attr] # one room in numpy is dense
    return inverse, inverse @ np.concatenate([heat, equations.supply.reshape(-1, 1)], axis=1)


def _causes_k(settings: RoomSettings) -> Floats:
    """Causes of a rise in K, (M + 1, B), as the network scales them."""
    groups = len(settings.heat_w)
    miners = np.maximum(settings.flows_m3_per_s[:groups].sum(axis=0), 1e-3)
    heat = groups * settings.heat_w / (settings.rho_cp_j_per_m3_k * miners)
    causes: Floats = np.concatenate([heat, settings.supply_rise_k[None]])
    return causes


def _single(array: Any) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)
