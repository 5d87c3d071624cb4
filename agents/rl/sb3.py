"""PPO of stable-baselines3, and of sb3-contrib for recurrent policies, as a learner."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.rl.actions import RuleNumbers
from agents.rl.learner import make_batch, sites_options
from agents.rl.network import policy_options, recurrent_network
from agents.rl.settings import TrainSettings
from agents.rl.vec_env import SiteVecEnv
from minesim.arrays import Array
from minesim.envs.core import World

SHOWN = ("train/approx_kl", "train/clip_fraction", "train/explained_variance", "train/value_loss", "train/std")
PLACE = ("num_timesteps", "_n_updates", "_last_obs", "_last_episode_starts")
"""Where an algorithm is between two calls of ``learn``, beside weights and optimiser."""


class Sb3Learner:
    """PPO or recurrent PPO over :class:`agents.rl.vec_env.SiteVecEnv`.

    Args:
        settings, world, numbers: see :func:`agents.rl.learner.make_learner`.

    Raises:
        MissingExtraError: a recurrent policy without sb3-contrib.
    """

    def __init__(self, settings: TrainSettings, world: World, numbers: RuleNumbers) -> None:
        agent = settings.agent
        self.settings, self.numbers = settings, numbers
        self.env = self._make_env(world)
        options: dict[str, Any] = {
            "learning_rate": agent.learning_rate,
            "n_steps": agent.n_steps,
            "batch_size": agent.batch_size,
            "n_epochs": agent.epochs,
            "gamma": agent.discount(),
            "gae_lambda": agent.gae_lambda,
            "clip_range": agent.clip_range,
            "ent_coef": agent.ent_coef,
            "vf_coef": agent.vf_coef,
            "max_grad_norm": agent.max_grad_norm,
            "target_kl": agent.target_kl,
            "policy_kwargs": policy_options(agent),
            "device": settings.trainer.device,
            "seed": settings.seed,
        }
        self.place: tuple[str, ...] = PLACE
        self.model: OnPolicyAlgorithm
        if agent.lstm_size:
            network = recurrent_network()
            from sb3_contrib import RecurrentPPO

            self.place = (*PLACE, "_last_lstm_states")
            self.model = RecurrentPPO(network, self.env, **options)
        else:
            self.model = PPO(ActorCriticPolicy, self.env, **options)
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    @property
    def network(self) -> ActorCriticPolicy:
        """What is trained."""
        return self.model.policy

    def iterate(self) -> dict[str, float]:
        """Gather experience and learn from it once."""
        agent, logged = self.settings.agent, self.model.logger.name_to_value
        # It is declared an int, but None is what turns its own log off.
        self.model.learn(agent.envs * agent.n_steps, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        figures = {name: float(logged[name]) for name in SHOWN if name in logged}
        logged.clear()
        return figures

    def seen(self) -> Array:
        """Observations of the last iteration."""
        return self.model.rollout_buffer.observations

    def enter(self, world: World) -> None:
        """Begin anew on sites of another world."""
        self.env = self._make_env(world)
        self.env.seed(self.settings.seed)
        self.model.set_env(self.env)

    def _make_env(self, world: World) -> SiteVecEnv:
        batch = make_batch(self.settings, world)
        return SiteVecEnv(batch, **sites_options(self.settings, world, self.numbers))

    def snapshot(self) -> dict[str, Any]:
        """Weights, optimiser, sites and place."""
        model = self.model
        return {
            "policy": model.policy.state_dict(),
            "optimiser": model.policy.optimizer.state_dict(),
            "place": {name: getattr(model, name) for name in self.place},
            "env": None if model._last_obs is None else self.env.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        model = self.model
        model.policy.load_state_dict(snapshot["policy"])
        model.policy.optimizer.load_state_dict(snapshot["optimiser"])
        for name, value in snapshot["place"].items():
            setattr(model, name, value)
        if snapshot["env"] is not None:
            self.env.restore(snapshot["env"])
