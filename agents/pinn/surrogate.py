"""A network for the steady air of a room: settings in, temperatures of all cells out.

What physics knows for sure is built in. Only differences to outdoors matter; at a given flow the field is proportional
to its causes (heat over air, and the supply's offset), so the network sees how the causes are shared out and its output
is multiplied by their size; without heat and offset the rise is exactly zero. The output is a sum of ``modes``, fields
that span what occurs in the room.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.pinn.array_file import read_arrays, write_arrays
from agents.pinn.steady import Floats, RoomSettings
from minesim.errors import DataFileError, explain
from minesim.physics.airflow import Grid
from minesim.physics.room_plan import RoomPlan

FORMAT = "minesim surrogate 1"
STILL_M3_PER_S = 1e-3
"""Least flow of all miners or all fans that the network tells apart from none."""
NO_CAUSE_K = 1e-6
"""Added to the size of the causes, so that none at all divides by something."""


class Surrogate(torch.nn.Module):
    """Settings of one room to its steady rise over outdoors.

    Args:
        groups, fans, dampers: how many inputs of each kind.
        grid: the cells.
        modes: fields, (cells, K).
        scale: usual size of each mode's coefficient for causes of size 1, (K,).
        width, layers: of the hidden layers.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    modes: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, sizes: tuple[int, int, int], cells: tuple[int, int], modes: Floats, scale: Floats, width: int, layers: int
    ) -> None:
        super().__init__()
        self.groups, self.fans, self.dampers = sizes
        self.nx, self.ny = cells
        inputs = sum(sizes) + 3 + self.groups + 1
        widths = [inputs, *[width] * layers]
        parts: list[torch.nn.Module] = []
        for before, after in pairwise(widths):
            parts += [torch.nn.Linear(before, after), torch.nn.GELU()]
        self.layers = torch.nn.Sequential(*parts, torch.nn.Linear(width, modes.shape[1]))
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("modes", torch.as_tensor(modes, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def features(
        self, flows: torch.Tensor, heat: torch.Tensor, supply: torch.Tensor, rho_cp: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the layers see, (B, F), before centring, and the size of the causes, (B, 1), K."""
        return setting_features(self.groups, self.fans, flows, heat, supply, rho_cp)

    def forward(
        self, flows: torch.Tensor, heat: torch.Tensor, supply: torch.Tensor, rho_cp: torch.Tensor
    ) -> torch.Tensor:
        """Rise over outdoors.

        Args:
            flows: of groups, fans and dampers, (B, U), m3/s.
            heat: of each group, (B, M), W.
            supply: supply air over outdoor air, (B, 1), K.
            rho_cp: heat capacity of the air, (B, 1), J/(m3 K).

        Returns:
            (B, nx, ny), K.
        """
        features, size = self.features(flows, heat, supply, rho_cp)
        coefficients: torch.Tensor = self.layers((features - self.centre) / self.spread) * self.scale
        return ((coefficients * size) @ self.modes.T).reshape(-1, self.nx, self.ny)

    def set_scales(self, settings: RoomSettings) -> None:
        """Centre the features on a sample of settings."""
        with torch.no_grad():
            features, _ = self.features(*rows_of(settings))
            self.centre.copy_(features.mean(0))
            self.spread.copy_(features.std(0) + 1e-3)

    def rise_k(self, settings: RoomSettings) -> Floats:
        """Rise over outdoors in numpy, batch last as in the room, (nx, ny, B), K."""
        with torch.no_grad():
            rise: Floats = self(*rows_of(settings)).permute(1, 2, 0).numpy()
        return rise


def setting_features(
    groups: int, fans: int, flows: torch.Tensor, heat: torch.Tensor, supply: torch.Tensor, rho_cp: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Settings as a network sees them: how flows and causes are shared out, and apart from it how large they are.

    Args:
        groups, fans: how many.
        flows: of groups, fans and dampers, (B, U), m3/s.
        heat: of each group, (B, M), W.
        supply: supply air over outdoor air, (B, 1), K.
        rho_cp: heat capacity of the air, (B, 1), J/(m3 K).

    Returns:
        Features, (B, F), and size of the causes, (B, 1), K, to which the rise is proportional.
    """
    of_miners = flows[:, :groups].sum(1, keepdim=True).clamp(min=STILL_M3_PER_S)
    of_fans = flows[:, groups : groups + fans].sum(1, keepdim=True).clamp(min=STILL_M3_PER_S)
    causes = torch.cat([groups * heat / (rho_cp * of_miners), supply], 1)
    size = torch.sqrt((causes**2).mean(1, keepdim=True)) + NO_CAUSE_K
    logs = [torch.log(of_miners), torch.log(of_fans / of_miners)]
    return torch.cat([flows / of_miners, *logs, 1e-3 * rho_cp, causes / size], 1), size


def rows_of(settings: RoomSettings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Settings as the network takes them: single precision, batch first."""
    plain = (settings.flows_m3_per_s, settings.heat_w, settings.supply_rise_k[None], settings.rho_cp_j_per_m3_k[None])
    flows, heat, supply, rho_cp = (torch.as_tensor(part, dtype=torch.float32).T for part in plain)
    return flows, heat, supply, rho_cp


def new_surrogate(plan: RoomPlan, grid: Grid, modes: Floats, scale: Floats, width: int, layers: int) -> Surrogate:
    """An untrained network of a room; its weights come from torch's generator."""
    sizes = (len(plan.groups), len(plan.fans), len(plan.dampers))
    return Surrogate(sizes, (grid.nx, grid.ny), modes, scale, width, layers)


def save_surrogate(path: Path, surrogate: Surrogate, about: Mapping[str, Any]) -> None:
    """Write a network as plain arrays.

    Args:
        path: ``.npz`` file.
        surrogate: the network.
        about: what else to remember, JSON-like (layout, how it was trained).
    """
    shape = {
        "format": FORMAT,
        "sizes": [surrogate.groups, surrogate.fans, surrogate.dampers],
        "cells": [surrogate.nx, surrogate.ny],
        "width": surrogate.layers[0].out_features,
        "layers": len(surrogate.layers) // 2,
    }
    write_arrays(path, arrays_of(surrogate), {**about, **shape})


def load_surrogate(path: Path) -> tuple[Surrogate, dict[str, Any]]:
    """Read a network back, with what was remembered.

    Raises:
        DataFileError: no such file, not one of ours, or damaged.
    """
    arrays, about = read_arrays(path)
    if about.get("format") != FORMAT:
        raise DataFileError(
            explain(f"{path.name} has format {about.get('format')!r}", allowed=repr(FORMAT), origin=str(path))
        )
    modes, scale = arrays["modes"], arrays["scale"]
    surrogate = Surrogate(tuple(about["sizes"]), tuple(about["cells"]), modes, scale, about["width"], about["layers"])
    put_arrays(surrogate, arrays, path)
    return surrogate, about


def arrays_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Weights and buffers by name."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def put_arrays(module: torch.nn.Module, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Put weights and buffers back.

    Raises:
        DataFileError: names or shapes that do not fit the network.
    """
    try:
        module.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
    except RuntimeError as error:
        raise DataFileError(
            explain(f"the arrays of {path.name} do not fit: {str(error).splitlines()[-1].strip()}", origin=str(path))
        ) from error
