"""Halls as a stable-baselines3 ``VecEnv``: a network's numbers, their meaning, the shield, the halls, the yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from agents.cooling.learning.policy import Meaning
from agents.cooling.learning.settings import SacSettings
from agents.cooling.shield import Shield
from agents.cooling.steady import SteadyBest
from agents.rl.batch_vec_env import BatchVecEnv
from agents.rl.sites import seeds_of
from minesim.envs.cooling import cooling_spaces
from minesim.envs.cooling_core import CoolingCore, CoolingWorld

Floats32 = npt.NDArray[np.float32]


class TrainingHalls(BatchVecEnv):
    """Halls side by side, all of whose episodes end together.

    Args:
        world: hall, climate and task.
        agent: the recipe.
        meaning: of the numbers.
        yardstick: whose reward on the same draws is subtracted; None for none.
        seed: of the run.
    """

    def __init__(
        self, world: CoolingWorld, agent: SacSettings, meaning: Meaning, yardstick: SteadyBest | None, seed: int
    ) -> None:
        self.world, self.agent, self.meaning, self.rule = world, agent, meaning, yardstick
        self.core = CoolingCore(world, agent.envs)
        self.other = None if yardstick is None else CoolingCore(world, agent.envs)
        self.shield = Shield(world) if agent.shielded else None
        self.run_seeds = seeds_of(seed, agent.envs)
        self._numbers: Floats32 = np.zeros(0, np.float32)
        self._clear()
        observed, acted = cooling_spaces(world)
        super().__init__(agent.envs, observed, gym.spaces.Box(-1.0, 1.0, shape=acted.shape, dtype=np.float32))

    # ------------------------------------------------------------------ episodes

    def begin(self, episode: int) -> None:
        """Go on with the episodes from this number, for a run that was stopped."""
        for core in (self.core, self.other):
            if core is not None:
                core.seed(self.run_seeds, episode)

    @property
    def episode(self) -> int:
        """Episodes that each hall has begun."""
        return int(self.core.episodes[0])

    @property
    def shared(self) -> CoolingCore:
        """The halls."""
        return self.core

    def reset(self) -> Floats32:
        """Begin all episodes."""
        self._observation = self.core.reset()
        if self.other is not None:
            self._others_observation = self.other.reset()
        if self.shield is not None:
            self.shield.reset()
        self._reset_seeds()
        self._reset_options()
        return np.asarray(self._observation, np.float32)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds are those of the run."""
        self._seeds = list(self.run_seeds)
        return self._seeds

    def step_async(self, actions: Floats32) -> None:
        """Keep the numbers for :meth:`step_wait`."""
        self._numbers = actions

    def step_wait(self) -> tuple[Floats32, Floats32, npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all halls by one control step."""
        agent = self.agent
        action = self.meaning.action(self._observation, self._numbers)
        if self.shield is not None:
            action = self.shield.guard(self._observation, action)
        result = self.core.step(action)
        gain = np.asarray(result.reward - agent.fine_usd * result.cost)
        self._count(result.reward, result.cost)
        if self.other is not None and self.rule is not None:
            theirs = self.other.step(self.rule.act(self._others_observation))
            gain = gain - (theirs.reward - agent.fine_usd * theirs.cost)
            self._others_observation = theirs.observation
        if agent.reward_limit_usd is not None:
            gain = np.clip(gain, -agent.reward_limit_usd, agent.reward_limit_usd)
        self._observation = np.asarray(result.observation, np.float32)
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        done = np.asarray(result.truncated, bool)
        if done.any():
            infos = [{"terminal_observation": row, "TimeLimit.truncated": True} for row in self._observation]
            self.reset()
        return self._observation, (agent.reward_scale * gain).astype(np.float32), done, infos

    # ------------------------------------------------------------------ what happened

    def _clear(self) -> None:
        self._steps, self._reward, self._broken = 0, 0.0, 0.0

    def _count(self, reward: Any, cost: Any) -> None:
        self._steps += len(reward)
        self._reward += float(np.sum(reward))
        self._broken += float(np.sum(cost > 0.0))

    def take_means(self) -> dict[str, float]:
        """Cost of a week, USD, share of steps with a broken limit, and of actions that the shield changed."""
        week = 7.0 * 86400.0 / self.world.config.dt_s
        steps = max(self._steps, 1)
        means = {"train/cost_usd_per_week": -self._reward / steps * week, "train/broken": self._broken / steps}
        if self.shield is not None:
            changed, seen = self.shield.changed
            means["train/shielded"] = float(changed / max(seen, 1.0))
            self.shield.changed = np.zeros(2)
        self._clear()
        return means
