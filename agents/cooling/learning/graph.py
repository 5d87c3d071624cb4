"""Features of a hall read as a graph: the same weights for every node, whatever their number and places.

What a node shows is scaled by moments that all readings of its kind share, so that no weight belongs to one sensor:
a network trained in one hall reads the nodes of another.
"""

from __future__ import annotations

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.nn import functional

from agents.cooling.learning.hall_graph import (
    AIR,
    CHIP,
    NODE_KINDS,
    PLACE_NUMBERS,
    PLACED,
    READING_KINDS,
    RELATIONS,
    HallGraph,
)
from agents.rl.network import CLIP, NormalisedObservation
from minesim.arrays import Array

HIGHEST = (AIR, CHIP)
"""Kinds of which the highest activation is told beside the mean: limits are on the hottest."""


class KindMoments(NormalisedObservation):
    """Running moments of each kind of reading, over all readings of the kind.

    Args:
        kinds: of :data:`READING_KINDS`, (R,).
    """

    share: torch.Tensor
    kinds: torch.Tensor

    def __init__(self, kinds: torch.Tensor) -> None:
        count = len(READING_KINDS)
        super().__init__(gym.spaces.Box(-1.0, 1.0, (count,)))
        members = functional.one_hot(kinds, count).double()
        self.register_buffer("share", members / members.sum(0).clamp(min=1.0), persistent=False)
        self.register_buffer("kinds", kinds, persistent=False)

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        """Normalised readings (B, R)."""
        return torch.clamp((readings - self.shift[self.kinds]) * self.factor[self.kinds], -CLIP, CLIP)

    def moments(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and mean square of each kind, of readings (P, R)."""
        mean, square = super().moments(batch)
        return mean @ self.share, square @ self.share


class Round(torch.nn.Module):
    """A round of messages: each node hears its relations and the means of those with and without a place.

    Args:
        width: H, numbers of a node.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = torch.nn.Linear((1 + len(RELATIONS)) * width, width)
        self.common = torch.nn.Linear(2 * width, width, bias=False)

    def forward(self, nodes: torch.Tensor, relations: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        """Nodes (N, B, H) after the round.

        Args:
            nodes: before, (N, B, H).
            relations: (3 N, N).
            means: averages over the nodes with a place, and over the others, (2, N).
        """
        size, flat = nodes.shape, nodes.flatten(1)
        heard = (relations @ flat).view(-1, *size)
        common = (means @ flat).view(2, *size[1:])
        told = self.own(torch.cat([nodes, *heard], -1)) + self.common(torch.cat([*common], -1))
        return nodes + functional.relu(told)


class GraphFeatures(BaseFeaturesExtractor):
    """The mean of each kind of node after some rounds of messages, and the highest of the sensors' and chips'.

    Weights do not depend on the graph; what does is no part of them.

    Args:
        observation_space: of the hall.
        graph: of the hall.
        width: H, numbers of a node.
        rounds: of messages.
    """

    columns: torch.Tensor
    reading_nodes: torch.Tensor
    node_kinds: torch.Tensor
    places: torch.Tensor
    relations: torch.Tensor
    means: torch.Tensor
    pools: torch.Tensor

    def __init__(self, observation_space: gym.spaces.Box, graph: HallGraph, width: int, rounds: int) -> None:
        super().__init__(observation_space, (len(NODE_KINDS) + len(HIGHEST)) * width)
        node_kinds, reading_kinds = torch.as_tensor(graph.node_kinds), torch.as_tensor(graph.reading_kinds)
        self.normal = KindMoments(reading_kinds)
        self.gain = torch.nn.Embedding(len(READING_KINDS), width)
        self.kind = torch.nn.Embedding(len(NODE_KINDS), width)
        self.place = torch.nn.Linear(PLACE_NUMBERS, width, bias=False)
        self.rounds = torch.nn.ModuleList(Round(width) for _ in range(rounds))
        members = functional.one_hot(node_kinds, len(NODE_KINDS)).float().T
        placed = (node_kinds < len(PLACED)).float()
        fixed = {
            "columns": torch.as_tensor(graph.columns),
            "reading_nodes": torch.as_tensor(graph.reading_nodes),
            "node_kinds": node_kinds,
            "places": torch.as_tensor(graph.places),
            "relations": torch.as_tensor(graph.relations).flatten(0, 1),
            "means": torch.stack([placed / placed.sum(), (1.0 - placed) / (1.0 - placed).sum()]),
            "pools": members / members.sum(1, keepdim=True).clamp(min=1.0),
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)

    def nodes(self, observations: torch.Tensor) -> torch.Tensor:
        """What each node has heard, (N, B, H), of observations (B, n)."""
        readings = self.normal(observations[:, self.columns])
        shown = readings.T[..., None] * self.gain(self.normal.kinds)[:, None]
        own = (self.kind(self.node_kinds) + self.place(self.places))[:, None]
        start = own.expand(-1, len(observations), -1).index_add(0, self.reading_nodes, shown)
        nodes = functional.relu(start)
        for round_ in self.rounds:
            nodes = round_(nodes, self.relations, self.means)
        return nodes

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Features (B, F)."""
        nodes = self.nodes(observations)
        pooled = (self.pools @ nodes.flatten(1)).view(-1, *nodes.shape[1:])
        highest = [nodes[self.node_kinds == NODE_KINDS.index(kind)].amax(0) for kind in HIGHEST]
        return torch.cat([*pooled, *highest], -1)

    def update(self, observations: Array) -> None:
        """Take observations (..., n) into the moments of readings."""
        self.normal.update(torch.as_tensor(observations)[..., self.columns])
