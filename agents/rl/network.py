"""The policy network: observation normalisation as a part of it, so that weights never travel without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.rl.settings import AgentSettings
from minesim.arrays import Array
from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

STD_MIN = 1e-2
"""Channels that hardly vary are not blown up; channels are scaled to order one already."""
CLIP = 10.0
PART = 65536
"""Observations that are summed at once in float64."""
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "elu": torch.nn.ELU}


class NormalisedObservation(BaseFeaturesExtractor):
    """Observations less their running mean, over their running deviation; the moments are part of the weights."""

    mean: torch.Tensor
    square: torch.Tensor
    count: torch.Tensor
    shift: torch.Tensor
    factor: torch.Tensor

    def __init__(self, observation_space: gym.spaces.Box, *, active: bool = True) -> None:
        size = int(observation_space.shape[0])
        super().__init__(observation_space, size)
        self.active = active
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("square", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("factor", torch.ones(size))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Normalised observations (B, n)."""
        if not self.active:
            return observations
        return torch.clamp((observations - self.shift) * self.factor, -CLIP, CLIP)

    @torch.no_grad()
    def update(self, observations: Array) -> None:
        """Take observations (..., n) into the running moments, a part at a time."""
        rows = torch.as_tensor(observations, device=self.mean.device)
        for part in torch.split(rows.flatten(0, -2), PART):
            self._take(part.double())
        std = torch.sqrt(torch.clamp(self.square - self.mean * self.mean, min=0.0))
        self.shift.copy_(self.mean.float())
        self.factor.copy_((1.0 / torch.clamp(std, min=STD_MIN)).float())

    def _take(self, batch: torch.Tensor) -> None:
        total = self.count + len(batch)
        weight = len(batch) / total
        mean, square = self.moments(batch)
        self.mean += (mean - self.mean) * weight
        self.square += (square - self.square) * weight
        self.count.copy_(total)

    def moments(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and mean square of each channel, of observations (P, n)."""
        return batch.mean(0), (batch * batch).mean(0)


def policy_options(agent: AgentSettings) -> dict[str, Any]:
    """Arguments of the network for stable-baselines3 and its recurrent sister in sb3-contrib."""
    memory = {"lstm_hidden_size": agent.lstm_size} if agent.lstm_size else {}
    return memory | {
        "net_arch": {"pi": list(agent.nets), "vf": list(agent.nets)},
        "activation_fn": ACTIVATIONS[agent.activation],
        "log_std_init": agent.log_std_init,
        "features_extractor_class": NormalisedObservation,
        "features_extractor_kwargs": {"active": agent.normalise_observations},
    }


def make_network(agent: AgentSettings, n_obs: int, n_raw: int) -> ActorCriticPolicy:
    """A network of these settings without a learner.

    Raises:
        MissingExtraError: a recurrent one without sb3-contrib.
    """
    kind = recurrent_network() if agent.lstm_size else ActorCriticPolicy
    return kind(
        gym.spaces.Box(-np.inf, np.inf, (n_obs,), np.float32),
        gym.spaces.Box(-1.0, 1.0, (n_raw,), np.float32),
        lambda _: agent.learning_rate,
        **policy_options(agent),
    )


def recurrent_network() -> type[RecurrentActorCriticPolicy]:
    """The class of networks with an LSTM.

    Raises:
        MissingExtraError: sb3-contrib is not installed.
    """
    try:
        from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
    except ImportError as error:
        raise MissingExtraError(
            explain("a recurrent policy needs sb3-contrib", fix="Run: pip install 'minesim[agents]'")
        ) from error
    return RecurrentActorCriticPolicy


def normalisation(network: ActorCriticPolicy) -> NormalisedObservation:
    """The part of a network that scales observations."""
    part = network.features_extractor
    assert isinstance(part, NormalisedObservation), "networks of this package scale their observations"
    return part


def sizes_of(network: ActorCriticPolicy) -> tuple[int, int]:
    """Numbers of an observation and of an action."""
    observed, acted = network.observation_space, network.action_space
    assert isinstance(observed, gym.spaces.Box), "networks of this package see vectors"
    assert isinstance(acted, gym.spaces.Box), "networks of this package give vectors"
    return observed.shape[0], acted.shape[0]


def is_actor(name: str) -> bool:
    """Whether a parameter of a network belongs to the policy (not to the value function)."""
    return name.startswith(("lstm_actor", "mlp_extractor.policy_net", "action_net", "log_std"))
