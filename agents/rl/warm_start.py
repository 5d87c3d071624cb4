"""Begin from a rule: gather its experience, take over the scale of observations, imitate its actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.rl.actions import ActionMap
from agents.rl.network import is_actor
from minesim.control.policy import Policy
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import World

BATCH = 1024


@dataclass(frozen=True)
class Experience:
    """What a policy saw and did: observations (N, n_obs) and actions (N, n_act), float32."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]


class MapAsPolicy:
    """An action map at zeros as a policy: the rule that a residual begins from."""

    name = "start"

    def __init__(self, actions: ActionMap) -> None:
        self.actions = actions

    def act(self, observation: NDArray[np.floating]) -> NDArray[np.floating]:
        """Action at zeros."""
        zeros = np.zeros((len(observation), self.actions.size), np.float32)
        action: NDArray[np.floating] = self.actions.action(observation, zeros)
        return action

    def reset(self, done: NDArray[np.bool_] | None = None) -> None:
        """Forget memory."""
        self.actions.reset(done)


def gather(policy: Policy, world: World, envs: int, steps: int, seed: int) -> Experience:
    """Let a policy run on random starts of the world's split."""
    env = HashrateTuningVectorEnv(envs, world=world)
    observation, _ = env.reset(seed=seed)
    policy.reset()
    seen, done_actions = [], []
    for _ in range(steps):
        action = np.asarray(policy.act(observation), np.float32)
        seen.append(observation)
        done_actions.append(action)
        observation, _, _, truncated, _ = env.step(action)
        if truncated.any():
            policy.reset(truncated)
    return Experience(np.concatenate(seen), np.concatenate(done_actions))


def imitate(network: ActorCriticPolicy, experience: Experience, epochs: int, seed: int) -> float:
    """Fit the network's mean to the actions by squared error.

    Returns:
        Root mean squared error on the last pass, in units of the action.
    """
    observations = torch.as_tensor(experience.observations, device=network.device)
    actions = torch.as_tensor(experience.actions, device=network.device)
    weights = [value for name, value in network.named_parameters() if is_actor(name) and name != "log_std"]
    optimiser = torch.optim.Adam(weights, lr=1e-3)
    rng = np.random.default_rng([0x1417A7E, seed])
    total = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(observations))
        total = 0.0
        for first in range(0, len(order), BATCH):
            rows = torch.as_tensor(order[first : first + BATCH])
            told = network.get_distribution(observations[rows]).distribution
            assert isinstance(told, torch.distributions.Normal), "networks of this package give normal distributions"
            loss = torch.nn.functional.mse_loss(told.mean, actions[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(rows)
    return float(np.sqrt(total / len(observations)))
