"""PPO of rsl-rl over the torch batch as a learner: sites, networks and experience on one device."""

from __future__ import annotations

from typing import Any

import torch
from rsl_rl.algorithms import PPO
from rsl_rl.models import MLPModel
from rsl_rl.storage import RolloutStorage
from stable_baselines3.common.policies import ActorCriticPolicy
from tensordict import TensorDict

from agents.rl.actions import RuleNumbers
from agents.rl.learner import make_batch, sites_options
from agents.rl.network import make_network, sizes_of
from agents.rl.settings import TrainSettings
from agents.rl.torch_env import GROUP, SiteTorchEnv
from minesim.arrays import Array
from minesim.envs.core import World
from minesim.envs.torch_batch import TorchBatch

KL_SAMPLES = 16384
"""Decisions over which the divergence of an iteration is measured."""


class HorizonPPO(PPO):  # type: ignore[misc]  # rsl-rl has no types
    """PPO that bootstraps a cut episode from its last observation, where rsl-rl takes the value before the step."""

    def process_env_step(
        self, obs: TensorDict, rewards: torch.Tensor, dones: torch.Tensor, extras: dict[str, Any]
    ) -> None:
        """Record one decision."""
        if "final" in extras:
            value = self.critic(extras["final"])[:, 0]
            rewards = rewards.index_add(0, extras["ended"], self.gamma * value)
        super().process_env_step(obs, rewards, dones, {})


class BatchedLearner:
    """PPO of rsl-rl over :class:`agents.rl.torch_env.SiteTorchEnv`.

    It trains the same network as the other learners: its models are views of it, with its parameters.

    Args:
        settings, world, numbers: see :func:`agents.rl.learner.make_learner`.
    """

    def __init__(self, settings: TrainSettings, world: World, numbers: RuleNumbers) -> None:
        agent, self.device = settings.agent, settings.trainer.device
        self.settings, self.numbers = settings, numbers
        torch.manual_seed(settings.seed)
        self.env = self._make_env(world)
        self.network: ActorCriticPolicy = make_network(agent, self.env.env.schema.size, self.env.num_actions)
        self.network.to(self.device)
        sample = self.env._group(torch.zeros(agent.envs, self.env.env.schema.size, device=self.device))
        actor, critic = models_of(self.network, sample)
        decisions = agent.envs * agent.n_steps
        self.ppo = HorizonPPO(
            actor,
            critic,
            RolloutStorage("rl", agent.envs, agent.n_steps, sample, [self.env.num_actions], self.device),
            num_learning_epochs=agent.epochs,
            num_mini_batches=-(-decisions // agent.batch_size),
            clip_param=agent.clip_range,
            gamma=agent.discount(),
            lam=agent.gae_lambda,
            value_loss_coef=agent.vf_coef,
            entropy_coef=agent.ent_coef,
            learning_rate=agent.learning_rate,
            max_grad_norm=agent.max_grad_norm,
            use_clipped_value_loss=False,
            schedule="fixed" if agent.target_kl is None else "adaptive",
            desired_kl=agent.target_kl,
            normalize_advantage_per_mini_batch=True,
            device=self.device,
        )
        self._observation: TensorDict | None = None

    def iterate(self) -> dict[str, float]:
        """Gather experience and learn from it once."""
        ppo, env = self.ppo, self.env
        ppo.train_mode()
        with torch.no_grad():
            observation = env.get_observations() if self._observation is None else self._observation
            for _ in range(self.settings.agent.n_steps):
                observation, reward, done, extras = env.step(ppo.act(observation))
                ppo.process_env_step(observation, reward, done, extras)
            ppo.compute_returns(observation)
        self._observation = observation
        losses = ppo.update()
        return {
            "train/value_loss": losses["value"],
            "train/entropy": losses["entropy"],
            "train/learning_rate": ppo.learning_rate,
            **self._figures(),
        }

    @torch.no_grad()
    def _figures(self) -> dict[str, float]:
        """How well values were foretold, and how far the policy moved (the estimator of stable-baselines3)."""
        ppo, stored = self.ppo, self.ppo.storage
        unexplained = (stored.returns - stored.values).var() / stored.returns.var()
        first = slice(0, min(KL_SAMPLES, stored.actions[..., 0].numel()))
        ppo.actor(stored.observations.flatten(0, 1)[first], stochastic_output=True)
        now = ppo.actor.get_output_log_prob(stored.actions.flatten(0, 1)[first])
        change = now - stored.actions_log_prob.flatten()[first]
        return {
            "train/approx_kl": float((torch.expm1(change) - change).mean()),
            "train/explained_variance": float(1.0 - unexplained),
            "train/std": float(self.network.log_std.detach().exp().mean()),
        }

    def seen(self) -> Array:
        """Observations of the last iteration."""
        return self.ppo.storage.observations[GROUP]

    def enter(self, world: World) -> None:
        """Begin anew on sites of another world."""
        self.env = self._make_env(world)
        self._observation = None

    def _make_env(self, world: World) -> SiteTorchEnv:
        batch = make_batch(self.settings, world)
        assert isinstance(batch, TorchBatch), "trainer.name is batched"
        return SiteTorchEnv(batch, **sites_options(self.settings, world, self.numbers))

    def snapshot(self) -> dict[str, Any]:
        """Weights, optimiser and sites."""
        return {
            "policy": self.network.state_dict(),
            "optimiser": self.ppo.optimizer.state_dict(),
            "env": None if self._observation is None else self.env.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.network.load_state_dict(snapshot["policy"])
        self.ppo.optimizer.load_state_dict(snapshot["optimiser"])
        self.ppo.learning_rate = self.ppo.optimizer.param_groups[0]["lr"]
        if snapshot["env"] is not None:
            self.env.restore(snapshot["env"])
            self._observation = self.env.get_observations()


def models_of(network: ActorCriticPolicy, sample: TensorDict) -> tuple[MLPModel, MLPModel]:
    """Policy and value network as models of rsl-rl that share every parameter and moment with ``network``.

    Args:
        network: a network without memory.
        sample: observations as the sites give them.
    """
    _, size = sizes_of(network)
    groups = {"actor": [GROUP], "critic": [GROUP]}
    noise = {"class_name": "GaussianDistribution", "std_type": "log"}
    actor = MLPModel(sample, groups, "actor", size, hidden_dims=[1], distribution_cfg=noise)
    critic = MLPModel(sample, groups, "critic", 1, hidden_dims=[1])
    parts = network.mlp_extractor
    actor.mlp = torch.nn.Sequential(parts.policy_net, network.action_net)
    critic.mlp = torch.nn.Sequential(parts.value_net, network.value_net)
    actor.distribution.log_std_param = network.log_std
    for model in (actor, critic):
        model.obs_normalizer = network.features_extractor
    return actor, critic
