"""Implicit Q-learning: value as an upper expectile, critics of tried actions only, imitation weighted by worth.

Kostrikov, Nair, Levine: Offline Reinforcement Learning with Implicit Q-Learning, 2021 (arXiv:2110.06169). Policy and
value function are the network of :mod:`agents.rl.network`, so that a policy learned from data is saved, loaded and run
like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agents.offline.settings import LearnerSettings
from agents.rl.network import ACTIVATIONS, sizes_of

LOG_STD_MIN = -5.0
ADVANTAGE_STD_MIN = 1e-6


@dataclass(frozen=True)
class Batch:
    """Decisions: observations (B, n_obs), numbers (B, n_raw), rewards (B,), observations at the next decision."""

    observations: Tensor
    numbers: Tensor
    rewards: Tensor
    next_observations: Tensor


class TwinCritic(nn.Module):
    """Two independent action values; the lower one counts."""

    def __init__(self, n_obs: int, n_raw: int, agent: LearnerSettings) -> None:
        super().__init__()
        self.critics = nn.ModuleList(self._critic(n_obs + n_raw, agent) for _ in range(2))

    @staticmethod
    def _critic(size: int, agent: LearnerSettings) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in agent.nets:
            layers += [nn.Linear(size, width), ACTIVATIONS[agent.activation]()]
            size = width
        return nn.Sequential(*layers, nn.Linear(size, 1))

    def forward(self, features: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Both action values, (B,) each."""
        together = torch.cat([features, numbers], dim=-1)
        first, second = (critic(together).squeeze(-1) for critic in self.critics)
        return first, second


class IQL:
    """The learner: network (policy and value), critics with slow copies, one optimiser for all.

    Args:
        network: policy and value function, its observation moments already set.
        agent: the recipe.
    """

    def __init__(self, network: ActorCriticPolicy, agent: LearnerSettings) -> None:
        self.network, self.agent = network, agent
        n_obs, n_raw = sizes_of(network)
        self.critic = TwinCritic(n_obs, n_raw, agent).to(network.device)
        self.slow = TwinCritic(n_obs, n_raw, agent).to(network.device).requires_grad_(False)
        self.slow.load_state_dict(self.critic.state_dict())
        self.weights = [*network.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(self.weights, lr=agent.learning_rate)
        self.discount = agent.discount()

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step on policy, value function and critics.

        Returns:
            Losses and diagnostics, scalars.
        """
        agent, network = self.agent, self.network
        with torch.no_grad():
            features = network.extract_features(batch.observations)
            outcome = torch.minimum(*self.slow(features, batch.numbers))
            target = batch.rewards + self.discount * network.predict_values(batch.next_observations).squeeze(-1)
        value = network.predict_values(batch.observations).squeeze(-1)
        advantage = outcome - value
        value_loss = expectile_loss(advantage, agent.expectile)
        first, second = self.critic(features, batch.numbers)
        critic_loss = nn.functional.mse_loss(first, target) + nn.functional.mse_loss(second, target)
        weight = advantage_weight(advantage.detach(), agent.temperature, agent.weight_max)
        log_prob = network.get_distribution(batch.observations).log_prob(batch.numbers)
        policy_loss = -(weight * log_prob).mean()
        # The three losses share no weights, so one step is the three steps of the paper.
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value_loss + critic_loss + policy_loss)
        nn.utils.clip_grad_norm_(self.weights, agent.max_grad_norm)
        self.optimiser.step()
        with torch.no_grad():
            network.log_std.clamp_(min=LOG_STD_MIN)
            for slow, quick in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(quick, agent.target_rate)
        return {
            "value_loss": value_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "policy_loss": policy_loss.detach(),
            "value": value.detach().mean(),
            "advantage_std": advantage.detach().std(),
            "weight_max": weight.max(),
        }

    def state(self) -> dict[str, Any]:
        """Everything that changes, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "critic": self.critic.state_dict(),
            "slow": self.slow.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.network.load_state_dict(state["network"])
        self.critic.load_state_dict(state["critic"])
        self.slow.load_state_dict(state["slow"])
        self.optimiser.load_state_dict(state["optimiser"])


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Mean of the asymmetric square: weight ``expectile`` above zero, 1 - ``expectile`` below."""
    weight = torch.where(difference > 0.0, expectile, 1.0 - expectile)
    return (weight * difference.square()).mean()


def advantage_weight(advantage: Tensor, temperature: float, weight_max: float) -> Tensor:
    """exp(temperature x advantage / its standard deviation), at most ``weight_max``, (B,).

    The paper scales rewards by the range of returns instead; in units of the spread within the batch the temperature
    means the same whatever the tariff and the discount.
    """
    spread = advantage.std().clamp(min=ADVANTAGE_STD_MIN)
    return torch.exp(torch.clamp(temperature * advantage / spread, max=30.0)).clamp(max=weight_max)
