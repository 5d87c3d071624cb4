"""Networks of a room's air over the rows of a record.

The air is a rise over outdoors that depends on the settings of a row, not on time: it is quasi-steady, and inputs jump
every few minutes, which a network of time would have to learn jump by jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from agents.pinn.steady import Floats


class ResidualLayers(torch.nn.Module):
    """Tanh layers, each added to what it got; where widths differ, to a linear map of it."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(inputs, widths[0])
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(widths))
        self.links = torch.nn.ModuleList(
            torch.nn.Identity() if a == b else torch.nn.Linear(a, b, bias=False) for a, b in pairwise(widths)
        )
        self.last = torch.nn.Linear(widths[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) of inputs (..., inputs)."""
        return self.onward(self.first(x))

    def onward(self, h: torch.Tensor) -> torch.Tensor:
        """From the first layer's sums."""
        h = torch.tanh(h)
        for layer, link in zip(self.layers, self.links, strict=True):
            h = link(h) + torch.tanh(layer(h))
        out: torch.Tensor = self.last(h)
        return out


class PointTrunk(torch.nn.Module):
    """Rise at points from their position, their aisle and the features of a row.

    Args:
        places: position and aisle of the cells and then of the sensors, (C + N, d).
        features: of a row, how many.
        widths: hidden layers.
    """

    places: torch.Tensor

    def __init__(self, places: Floats, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("places", torch.as_tensor(places, dtype=torch.float32))
        self.layers = ResidualLayers(places.shape[1] + features, widths, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C + N) of features (B, F)."""
        first = self.layers.first
        split = self.places.shape[1]
        at = self.places @ first.weight[:, :split].T
        by = features @ first.weight[:, split:].T + first.bias
        return self.layers.onward(at[None] + by[:, None])[..., 0]


class CellTrunk(torch.nn.Module):
    """Rise of all cells at once from the features of a row; a sensor reads its cell.

    Args:
        cells: how many.
        sensors: cell of each sensor, (N,).
        features: of a row, how many.
        widths: hidden layers.
    """

    def __init__(self, cells: int, sensors: torch.Tensor, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("index", torch.cat([torch.arange(cells), sensors]))
        self.layers = ResidualLayers(features, widths, cells)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C + N) of features (B, F)."""
        out: torch.Tensor = self.layers(features)[:, self.index]
        return out


class RoomNetwork(torch.nn.Module):
    """Air at rows of a record, and the unknowns of the room.

    Args:
        trunk: of the air.
        features: of the rows, (T, F), centred.
        size_k: size of the causes of a rise, (T, 1).
        unknowns: how many; their values are in units of their prior's standard deviation.
        told: which of them the trunk is told beside the features, (P',).
    """

    features: torch.Tensor
    size_k: torch.Tensor
    told: torch.Tensor

    def __init__(
        self,
        trunk: PointTrunk | CellTrunk,
        features: torch.Tensor,
        size_k: torch.Tensor,
        unknowns: int,
        told: torch.Tensor,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("features", features)
        self.register_buffer("size_k", size_k)
        self.register_buffer("told", told)
        self.unknowns = torch.nn.Parameter(torch.zeros(unknowns))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rise over outdoors of cells and sensors.

        Args:
            rows: numbers of rows, (B, 1), as floats.

        Returns:
            (B, C + N), K.
        """
        index = rows[:, 0].long()
        told = self.unknowns.detach()[self.told].expand(len(index), -1)
        rise: torch.Tensor = self.trunk(torch.cat([self.features[index], told], 1)) * self.size_k[index]
        return rise
